/* Preloaded into a process: it dies of SIGKILL at the DIE_AT-th write to a database's files, half of which is done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_database(int fd)
{
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return strstr(path, "control.db") != NULL;
}

static int is_due(int fd)
{
	static long count;
	const char *at = getenv("DIE_AT");
	return at && is_database(fd) && ++count == atol(at);
}

static ssize_t part(int fd, const void *bytes, size_t length, off64_t offset)
{
	static ssize_t (*real)(int, const void *, size_t, off64_t);
	if (!real)
		real = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
	if (is_due(fd)) {
		real(fd, bytes, length / 2, offset);
		kill(getpid(), SIGKILL);
	}
	return real(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return part(fd, bytes, length, offset); }

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return part(fd, bytes, length, offset); }

int fdatasync(int fd)
{
	static int (*real)(int);
	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	if (is_due(fd))
		kill(getpid(), SIGKILL);
	return real(fd);
}

int fsync(int fd)
{
	static int (*real)(int);
	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	if (is_due(fd))
		kill(getpid(), SIGKILL);
	return real(fd);
}
