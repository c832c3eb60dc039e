/* Loaded before the C library: each sync of the disk takes a millisecond longer, as on a network disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void wait_a_millisecond(void) {
    struct timespec left = {0, 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

int fsync(int file) {
    wait_a_millisecond();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    wait_a_millisecond();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
