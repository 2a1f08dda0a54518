/* Preloaded: below a folder, the k-th write, sync, rename or link fails, or all from the k-th on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define LONGEST 1024
static char below[LONGEST], failed_call[32], failed_path[LONGEST];
static atomic_long calls;
static long fail_at;
static int fail_with, stays;

/* at: 0 for never. with: an errno. on: whether all calls behind that one fail, too. */
void disk_arm(const char *folder, long at, int with, int on) {
  below[0] = 0;
  calls = 0, fail_at = at, fail_with = with, stays = on, failed_call[0] = failed_path[0] = 0;
  strncpy(below, folder, LONGEST - 1);
}
long disk_calls(void) { return calls; }
const char *disk_failed_call(void) { return failed_call; }
const char *disk_failed_path(void) { return failed_path; }

static int fails(const char *call, const char *path) {
  if (!below[0] || !path || strncmp(path, below, strlen(below)))
    return 0;
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (!fail_at || !(number == fail_at || (stays && number > fail_at)))
    return 0;
  if (number == fail_at) {
    strncpy(failed_call, call, sizeof failed_call - 1);
    strncpy(failed_path, path, LONGEST - 1);
  }
  errno = fail_with;
  return 1;
}

static int file_fails(const char *call, int file) {
  char link[64], path[LONGEST];
  if (!below[0])
    return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, LONGEST - 1);
  if (length <= 0)
    return 0;
  path[length] = 0;
  return fails(call, path);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t size) {
  REAL(write);
  return file_fails("write", file) ? -1 : real(file, bytes, size);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  REAL(pwrite64);
  return file_fails("write", file) ? -1 : real(file, bytes, size, at);
}
int fsync(int file) {
  REAL(fsync);
  return file_fails("fsync", file) ? -1 : real(file);
}
int fdatasync(int file) {
  REAL(fdatasync);
  return file_fails("fsync", file) ? -1 : real(file);
}
int rename(const char *from, const char *to) {
  REAL(rename);
  return fails("rename", to) ? -1 : real(from, to);
}
int renameat(int old, const char *from, int new, const char *to) {
  REAL(renameat);
  return fails("rename", to) ? -1 : real(old, from, new, to);
}
int link(const char *from, const char *to) {
  REAL(link);
  return fails("link", to) ? -1 : real(from, to);
}
int linkat(int old, const char *from, int new, const char *to, int flags) {
  REAL(linkat);
  return fails("link", to) ? -1 : real(old, from, new, to, flags);
}
