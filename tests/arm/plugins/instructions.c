// A plug-in of qemu-aarch64 that counts executed instructions by kind, over all threads: -plugin instructions.so,out=FILE
#include "qemu.h"

#define THREADS 64

enum kind { FMA, OTHER_SIMD, SIMD_LOADS, SIMD_STORES, OTHER_MEMORY, REST, KINDS };
static const char *const names[KINDS] = {"fma", "other_simd", "simd_loads", "simd_stores", "other_loads_and_stores", "rest"};

struct counts {
    uint64_t of[KINDS];
};
static struct counts executed[THREADS];  // each thread counts for itself
static FILE *out;

// By the Arm Architecture Reference Manual, "A64 instruction set encoding".
static enum kind kind_of(uint32_t word) {
    uint32_t vectors = word & 0xFFE0FC00, by_lane = word & 0xFFC0F400;  // FMLA and FMLS of four floats
    if (vectors == 0x4E20CC00 || vectors == 0x4EA0CC00 || by_lane == 0x4F801000 || by_lane == 0x4F805000) return FMA;
    uint32_t group = word >> 25 & 15;
    if (group == 7 || group == 15) return OTHER_SIMD;
    if ((group & 5) != 4) return REST;
    if (!(word >> 26 & 1)) return OTHER_MEMORY;
    return word >> 22 & 1 ? SIMD_LOADS : SIMD_STORES;
}

static void run(unsigned thread, void *data) {
    const struct counts *block = data;
    for (int k = 0; k < KINDS; k++) executed[thread % THREADS].of[k] += block->of[k];
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    struct counts *counts = calloc(1, sizeof *counts);  // lives as long as the translation, so to the end
    if (!counts) abort();
    for (size_t i = 0, count = qemu_plugin_tb_n_insns(block); i < count; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        counts->of[kind_of(word)]++;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, run, NO_REGISTERS, counts);
}

static void ended(plugin_id id, void *data) {
    (void)id, (void)data;
    for (int k = 0; k < KINDS; k++) {
        uint64_t sum = 0;
        for (int t = 0; t < THREADS; t++) sum += executed[t].of[k];
        fprintf(out, "%s %" PRIu64 "\n", names[k], sum);
    }
    fclose(out);
}

int qemu_plugin_install(plugin_id id, const void *machine, int count, char **arguments) {
    (void)machine;
    out = open_counts(count, arguments);
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, 0);
    return 0;
}
