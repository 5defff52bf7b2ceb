// What the plug-ins take of the interface that qemu has for them, which Debian ships no header of.
//
// Of version 1, as in Debian 12's qemu-user. Debian 13's takes no plug-ins at all.
#ifndef QEMU_H
#define QEMU_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef uint32_t access_info;
struct qemu_plugin_tb;  // instructions that are translated, and later executed, one after the other
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0, READ_AND_WRITE = 3 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t place);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *instruction);  // where it lies in this process
unsigned qemu_plugin_mem_size_shift(access_info info);
_Bool qemu_plugin_mem_is_store(access_info info);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*executed)(unsigned thread, void *data), int registers, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction,
                                      void (*accessed)(unsigned thread, access_info, uint64_t address, void *data), int registers,
                                      int which, void *data);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*ended)(plugin_id, void *data), void *data);

EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(plugin_id id, const void *machine, int count, char **arguments);
int qemu_plugin_version = 1;

// The value of an argument NAME=VALUE, or null.
static inline const char *argument(const char *name, int count, char **arguments) {
    size_t length = strlen(name);
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=') return arguments[i] + length + 1;
    return 0;
}

// The file for the counts, from the argument out=FILE.
static inline FILE *open_counts(int count, char **arguments) {
    const char *path = argument("out", count, arguments);
    FILE *file = path ? fopen(path, "w") : 0;
    if (!file) fprintf(stderr, "the plug-in needs out=FILE, a file that it can write\n");
    return file;
}

#endif
