/* What the programs of the bench share: time, addresses, and a histogram of bounded relative error. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull

/* 256 exact values, then 128 buckets for each power of two up to 2^41 ns: an error below 0.8 %. */
#define HISTOGRAM_BUCKETS (256 + 34 * 128)

struct histogram {
	uint64_t count[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
	if (value >= 1ull << 41)
		value = (1ull << 41) - 1;
	if (value < 256) {
		histogram->count[value]++;
		return;
	}
	int power = 63 - __builtin_clzll(value);
	histogram->count[256 + (power - 8) * 128 + ((value >> (power - 7)) & 127)]++;
}

/* The middle of a bucket. */
static inline uint64_t histogram_value(int bucket)
{
	if (bucket < 256)
		return bucket;
	int power = (bucket - 256) / 128 + 8, part = (bucket - 256) % 128;
	return (1ull << power) + ((uint64_t)part << (power - 7)) + (1ull << (power - 8));
}

/* As JSON: [[nanoseconds, how many], ...] */
static inline void histogram_print(const struct histogram *histogram)
{
	const char *comma = "";

	putchar('[');
	for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		if (!histogram->count[bucket])
			continue;
		printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, histogram_value(bucket), histogram->count[bucket]);
		comma = ",";
	}
	putchar(']');
}

static inline uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static inline void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", host);
		exit(2);
	}
	return address;
}

/* A non-blocking socket whose connection is under way. */
static inline int connecting(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline void watch(int epoll, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	if (epoll_ctl(epoll, operation, fd, &event) < 0)
		fail("epoll_ctl");
}

/* CPU seconds of this process. */
static inline double cpu_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Options are pairs of a name and a number. */
static inline double option(int argc, char **argv, const char *name, double otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return atof(argv[i + 1]);
	return otherwise;
}
