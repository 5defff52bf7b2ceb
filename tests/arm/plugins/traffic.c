// A plug-in of qemu-aarch64 that counts what a small board's caches read from and write to memory:
// -plugin traffic.so,l2=KB,out=FILE
//
// Data only: a level 1 cache of 32 KB, 2 ways, for each of four cores, over one shared level 2 cache of 16 ways, as in a
// Cortex-A72; write-back, write-allocate, the least recently used line goes, 64 bytes a line. Without prefetching. Each
// thread is on a core of its own, as long as there are no more than four.
#include <pthread.h>

#include "qemu.h"

enum { CORES = 4, L1_SETS = 256, L1_WAYS = 2, L2_WAYS = 16, LINE_SHIFT = 6 };

struct way {
    uint64_t tag;  // the line's number + 1; 0: empty
    uint64_t used;
    int is_dirty;
};
static struct way l1[CORES][L1_SETS][L1_WAYS], (*l2)[L2_WAYS];
static uint64_t l2_sets, now, accesses, l1_misses, fills, writebacks;
static pthread_spinlock_t lock;
static FILE *out;

// The line's way, or else null and the way that it is to take.
static struct way *find(struct way *set, int ways, uint64_t line, struct way **oldest) {
    *oldest = set;
    for (int i = 0; i < ways; i++) {
        if (set[i].tag == line + 1) {
            set[i].used = now;
            return set + i;
        }
        if (set[i].used < (*oldest)->used) *oldest = set + i;
    }
    return 0;
}

static void touch_l2(uint64_t line, int is_write) {
    struct way *oldest, *way = find(l2[line % l2_sets], L2_WAYS, line, &oldest);
    if (!way) {
        fills++;
        writebacks += oldest->is_dirty;
        way = oldest;
        *way = (struct way){line + 1, now, 0};
    }
    way->is_dirty |= is_write;
}

static void touch(unsigned core, uint64_t line, int is_write) {
    now++;
    accesses++;
    struct way *oldest, *way = find(l1[core][line % L1_SETS], L1_WAYS, line, &oldest);
    if (!way) {
        l1_misses++;
        if (oldest->is_dirty) touch_l2(oldest->tag - 1, 1);
        touch_l2(line, 0);
        way = oldest;
        *way = (struct way){line + 1, now, 0};
    }
    way->is_dirty |= is_write;
}

static void accessed(unsigned thread, access_info info, uint64_t address, void *data) {
    (void)data;
    uint64_t first = address >> LINE_SHIFT, last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE_SHIFT;
    pthread_spin_lock(&lock);
    for (uint64_t line = first; line <= last; line++) touch(thread % CORES, line, qemu_plugin_mem_is_store(info));
    pthread_spin_unlock(&lock);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0, count = qemu_plugin_tb_n_insns(block); i < count; i++)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), accessed, NO_REGISTERS, READ_AND_WRITE, 0);
}

static void ended(plugin_id id, void *data) {
    (void)id, (void)data;
    fprintf(out, "accesses %" PRIu64 "\nl1_misses %" PRIu64 "\nlines_read %" PRIu64 "\nlines_written %" PRIu64 "\n", accesses, l1_misses,
            fills, writebacks);
    fclose(out);
}

int qemu_plugin_install(plugin_id id, const void *machine, int count, char **arguments) {
    (void)machine;
    const char *kb = argument("l2", count, arguments);
    l2_sets = kb ? strtoul(kb, 0, 10) * 1024 / L2_WAYS >> LINE_SHIFT : 0;
    l2 = l2_sets ? calloc(l2_sets, sizeof *l2) : 0;
    if (!l2) fprintf(stderr, "traffic.so: needs l2=KB, at least 1\n");
    out = open_counts(count, arguments);
    if (!l2 || !out || pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE)) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, 0);
    return 0;
}
