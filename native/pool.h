// Waiting for a number to change, and waking those who wait.
#ifndef POOL_H
#define POOL_H

#include "engine.h"

void pool_wake(atomic_uint *word);
// Wait until `word` is not `value` any more; look `spins` times before sleeping.
void pool_wait(atomic_uint *word, unsigned value, int spins);

#endif
