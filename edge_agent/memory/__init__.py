"""The resident-memory budget: measuring, giving back, enforcing.

Every figure called MB in this project is a MiB of resident memory: VmRSS in kB divided by 1024, as the kernel
reports it in /proc.
"""
