// Stands between a process and the files of one SQLite database: records what is written to them and
// when they are synced, and makes calls fail on demand. It is loaded with LD_PRELOAD.
//
// The environment names the database (FAULTS_DISK_DATABASE), the log of calls (FAULTS_DISK_LOG) and
// a file that all processes share (FAULTS_DISK_MODE): its first byte is the mode, and the failed syncs
// of each file are counted behind it. src/disk.rs reads the log, sets the mode, and has the same
// numbers.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode {
    MODE_WORKS,
    MODE_READ_ONLY,
    MODE_WRITE_FAILS,
    MODE_SYNC_FAILS,
    MODE_DATABASE_SYNC_IGNORED,
    MODE_WAL_SYNC_IGNORED,
    MODE_FOLDER_SYNC_IGNORED,
    MODE_DATABASE_SYNC_FAILS,
};

enum call { CALL_CREATE = 1, CALL_WRITE, CALL_TRUNCATE, CALL_SYNC, CALL_SYNC_FAILED, CALL_UNLINK };

// The shared memory (-shm) is not among them: SQLite makes it anew.
enum file { FILE_OTHER, FILE_DATABASE, FILE_WAL, FILE_JOURNAL, FILE_FOLDER, FILES };

// What all processes share.
struct shared {
    unsigned char mode;
    // How many syncs of each file failed.
    uint32_t failed_syncs[FILES];
};

// A record of the log. `length` bytes of data follow.
struct record {
    uint32_t call;
    uint32_t file;
    uint64_t offset;
    uint64_t length;
    uint64_t at_us;
};

#define MOST_FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *database;
static char folder[4096];
static volatile struct shared *shared;
static int log_fd = -1;
static unsigned char file_of_fd[MOST_FILES];
// The failed syncs that each descriptor knows of. Linux reports one once to each that was open then.
static uint32_t known_failures[MOST_FILES];

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("FAULTS_DISK_LOG");
    const char *mode = getenv("FAULTS_DISK_MODE");
    const char *name = getenv("FAULTS_DISK_DATABASE");
    if (!log || !mode || !name)
        return;
    int mode_fd = syscall(SYS_openat, AT_FDCWD, mode, O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, mode_fd, 0);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (mapped == MAP_FAILED || log_fd < 0) {
        perror("the disk shim cannot start");
        abort();
    }
    shared = mapped;
    snprintf(folder, sizeof folder, "%s", name);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    database = name;
}

static enum mode mode(void) { return shared ? (enum mode)shared->mode : MODE_WORKS; }

static enum file file_named(const char *path) {
    if (!database)
        return FILE_OTHER;
    if (!strcmp(path, folder))
        return FILE_FOLDER;
    size_t length = strlen(database);
    if (strncmp(path, database, length))
        return FILE_OTHER;
    const char *end = path + length;
    if (!*end)
        return FILE_DATABASE;
    if (!strcmp(end, "-wal"))
        return FILE_WAL;
    if (!strcmp(end, "-journal"))
        return FILE_JOURNAL;
    return FILE_OTHER;
}

static enum file file_of(int fd) {
    return fd >= 0 && fd < MOST_FILES ? (enum file)file_of_fd[fd] : FILE_OTHER;
}

static void record(enum call call, enum file file, uint64_t offset, const void *data, uint64_t length) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct record record = {call, file, offset, length, now.tv_sec * 1000000ull + now.tv_nsec / 1000};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)data, data ? length : 0}};
    if (!data)
        record.length = 0;
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(sizeof record + record.length)) {
        perror("the disk shim cannot write its log");
        abort();
    }
}

static int fail(int error) {
    errno = error;
    return -1;
}

static int open_any(const char *path, int flags, mode_t mode_bits) {
    enum file file = file_named(path);
    if (file == FILE_OTHER)
        return syscall(SYS_openat, AT_FDCWD, path, flags, mode_bits);
    if (mode() == MODE_READ_ONLY && (flags & (O_WRONLY | O_RDWR)))
        return fail(EROFS);
    pthread_mutex_lock(&lock);
    if ((flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0)
        record(CALL_CREATE, file, 0, NULL, 0);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode_bits);
    if (fd >= MOST_FILES)
        abort();
    if (fd >= 0) {
        file_of_fd[fd] = file;
        known_failures[fd] = shared->failed_syncs[file];
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode_bits = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_any(path, flags, mode_bits);
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode_bits = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_any(path, flags, mode_bits);
}

int close(int fd) {
    if (file_of(fd) != FILE_OTHER)
        file_of_fd[fd] = FILE_OTHER;
    return syscall(SYS_close, fd);
}

// What is recorded may not have happened: a process can be killed between the two. The other order
// would let it see, when it is started again, what the record does not have.
static ssize_t write_at(int fd, const void *data, size_t length, off_t offset) {
    enum mode now = mode();
    if (now == MODE_READ_ONLY)
        return fail(EROFS);
    // A write that fails may have been done in part.
    if (now == MODE_WRITE_FAILS)
        length /= 2;
    pthread_mutex_lock(&lock);
    record(CALL_WRITE, file_of(fd), offset, data, length);
    ssize_t written = syscall(SYS_pwrite64, fd, data, length, offset);
    pthread_mutex_unlock(&lock);
    return now == MODE_WRITE_FAILS ? fail(EIO) : written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (file_of(fd) == FILE_OTHER)
        return syscall(SYS_pwrite64, fd, data, length, offset);
    return write_at(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return pwrite(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) {
    if (file_of(fd) == FILE_OTHER)
        return syscall(SYS_write, fd, data, length);
    off_t offset = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t written = write_at(fd, data, length, offset);
    if (written > 0)
        syscall(SYS_lseek, fd, offset + written, SEEK_SET);
    return written;
}

int ftruncate(int fd, off_t length) {
    if (file_of(fd) == FILE_OTHER)
        return syscall(SYS_ftruncate, fd, length);
    if (mode() == MODE_READ_ONLY)
        return fail(EROFS);
    if (mode() == MODE_WRITE_FAILS)
        return fail(EIO);
    pthread_mutex_lock(&lock);
    record(CALL_TRUNCATE, file_of(fd), length, NULL, 0);
    int result = syscall(SYS_ftruncate, fd, length);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int ignores_sync(enum file file) {
    switch (mode()) {
    case MODE_DATABASE_SYNC_IGNORED:
        return file == FILE_DATABASE;
    case MODE_WAL_SYNC_IGNORED:
        return file == FILE_WAL;
    case MODE_FOLDER_SYNC_IGNORED:
        return file == FILE_FOLDER;
    default:
        return 0;
    }
}

static int fails_sync(enum file file) {
    enum mode now = mode();
    return now == MODE_SYNC_FAILS || (now == MODE_DATABASE_SYNC_FAILS && file == FILE_DATABASE);
}

// Nobody can have seen an effect of the sync before the record is written.
static int sync_file(int fd) {
    enum file file = file_of(fd);
    if (ignores_sync(file))
        return 0;
    int result = 0;
    pthread_mutex_lock(&lock);
    if (fails_sync(file)) {
        record(CALL_SYNC_FAILED, file, 0, NULL, 0);
        known_failures[fd] = __atomic_add_fetch(&shared->failed_syncs[file], 1, __ATOMIC_SEQ_CST);
        result = fail(EIO);
    } else {
        result = syscall(SYS_fsync, fd);
        if (result == 0)
            record(CALL_SYNC, file, 0, NULL, 0);
        // This sync has worked, but another descriptor's has failed.
        uint32_t failures = shared->failed_syncs[file];
        if (known_failures[fd] != failures) {
            known_failures[fd] = failures;
            result = fail(EIO);
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return file_of(fd) == FILE_OTHER ? syscall(SYS_fsync, fd) : sync_file(fd); }

int fdatasync(int fd) {
    return file_of(fd) == FILE_OTHER ? syscall(SYS_fdatasync, fd) : sync_file(fd);
}

int unlink(const char *path) {
    enum file file = file_named(path);
    if (file == FILE_OTHER)
        return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (mode() == MODE_READ_ONLY)
        return fail(EROFS);
    pthread_mutex_lock(&lock);
    record(CALL_UNLINK, file, 0, NULL, 0);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
