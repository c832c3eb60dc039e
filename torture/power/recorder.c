/*
 * Records what a process does to the files of one folder, in the order in which it does it. Preloaded, so that what is
 * recorded is what the real store asks of the operating system.
 *
 * Every record is one append to the log, after the call it tells of: a header, the file's name and the bytes written.
 * Records of several threads and processes do not mix. A sync has two, for only what was written before it began is
 * sure to be on the disk once it has ended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 'w', TRUNCATE = 't', UNLINK = 'u', SYNC_BEGINS = 'b', SYNC_ENDS = 'e' };

struct header {
    uint32_t what;
    uint32_t name;   /* length of the name */
    uint64_t place;  /* of a write its offset, of a truncation the new length, of a sync its number */
    uint64_t length; /* of the bytes written */
};

static int journal = -1;
static char folder[PATH_MAX];
static size_t folder_length;
static uint64_t syncs;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void start(void)
{
    real_write = REAL(write);
    real_pwrite = REAL(pwrite64);
    real_fsync = REAL(fsync);
    real_fdatasync = REAL(fdatasync);
    real_ftruncate = REAL(ftruncate64);
    real_unlink = REAL(unlink);
    const char *wanted = getenv("RECORDER_FOLDER"), *log = getenv("RECORDER_LOG");
    if (wanted == NULL || log == NULL || realpath(wanted, folder) == NULL)
        return;
    folder_length = strlen(folder);
    journal = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* The path within the folder, "" for the folder itself, NULL for anything elsewhere. */
static const char *inside(const char *path)
{
    if (journal < 0 || strncmp(path, folder, folder_length) != 0)
        return NULL;
    if (path[folder_length] == '\0')
        return "";
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static const char *name_of(int fd, char *path)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = journal < 0 ? -1 : readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = '\0';
    return inside(path);
}

static void record(uint32_t what, const char *name, uint64_t place, const void *bytes, uint64_t length)
{
    int before = errno;
    struct header header = {what, strlen(name), place, length};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)name, header.name}, {(void *)bytes, length}};
    ssize_t whole = sizeof header + header.name + length;
    if (writev(journal, parts, 3) != whole)
        abort(); /* a log with a hole proves nothing */
    errno = before;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    char path[PATH_MAX];
    ssize_t written = real_write(fd, bytes, length);
    const char *name = written > 0 ? name_of(fd, path) : NULL;
    if (name != NULL)
        record(WRITE, name, lseek64(fd, 0, SEEK_CUR) - written, bytes, written);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    char path[PATH_MAX];
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    const char *name = written > 0 ? name_of(fd, path) : NULL;
    if (name != NULL)
        record(WRITE, name, offset, bytes, written);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite64(fd, bytes, length, offset);
}

int ftruncate64(int fd, off64_t length)
{
    char path[PATH_MAX];
    int answer = real_ftruncate(fd, length);
    const char *name = answer == 0 ? name_of(fd, path) : NULL;
    if (name != NULL)
        record(TRUNCATE, name, length, NULL, 0);
    return answer;
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int unlink(const char *path)
{
    int answer = real_unlink(path);
    const char *name = answer == 0 ? inside(path) : NULL;
    if (name != NULL)
        record(UNLINK, name, 0, NULL, 0);
    return answer;
}

static int synced(int (*real_sync)(int), int fd)
{
    char path[PATH_MAX];
    const char *name = name_of(fd, path);
    if (name == NULL)
        return real_sync(fd);
    uint64_t number = (uint64_t)getpid() << 32 | __atomic_fetch_add(&syncs, 1, __ATOMIC_RELAXED);
    record(SYNC_BEGINS, name, number, NULL, 0);
    int answer = real_sync(fd);
    if (answer == 0)
        record(SYNC_ENDS, name, number, NULL, 0);
    return answer;
}

int fsync(int fd)
{
    return synced(real_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(real_fdatasync, fd);
}
