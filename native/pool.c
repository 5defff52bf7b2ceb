// The meeting of threads: look for a bounded time whether the others have arrived, then sleep.
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool.h"

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void pool_wake(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0); }

void pool_wait(atomic_uint *word, unsigned value, int spins) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value) return;
        pause_briefly();
    }
    while (atomic_load_explicit(word, memory_order_acquire) == value) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0);
}

void barrier(struct native_engine *engine) {
    unsigned threads = (unsigned)engine->options.threads;
    if (threads == 1) return;
    unsigned turn = atomic_load_explicit(&engine->turn, memory_order_acquire);
    if (atomic_fetch_add_explicit(&engine->arrived, 1, memory_order_acq_rel) == threads - 1) {
        atomic_store_explicit(&engine->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&engine->turn, turn + 1, memory_order_release);
        pool_wake(&engine->turn);
    } else pool_wait(&engine->turn, turn, engine->options.spins);
}
