/* Bulk, one way, over N connections at once; counted where the bytes arrive.
 *
 *	pour down|up HOST PORT [--connections N] [--seconds S] [--warmup S]
 *
 * PORT is the source (down) or the sink (up) of serve.c.
 */
#define _GNU_SOURCE
#include "common.h"

#include <endian.h>

#define CHUNK (256 * 1024)
#define PATIENCE (5 * SECOND)

struct pipe {
	int fd;
	bool open, stopping;
	uint64_t arrived;
	size_t have;
	unsigned char report[8];
};

static char chunk[CHUNK];
static bool upwards;
static int epoll;

static void drained(struct pipe *pipe)
{
	ssize_t got = recv(pipe->fd, chunk, sizeof(chunk), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, pipe->fd, NULL);
		pipe->open = false;
		return;
	}
	if (!upwards) {
		pipe->arrived += got;
		return;
	}
	for (ssize_t i = 0; i < got; i++) {
		pipe->report[pipe->have++] = chunk[i];
		if (pipe->have == 8) {
			uint64_t report;

			memcpy(&report, pipe->report, 8);
			pipe->arrived = be64toh(report);
			pipe->have = 0;
		}
	}
}

static void stop(struct pipe *pipe)
{
	pipe->stopping = true;
	if (!pipe->open)
		return;
	if (upwards) {
		shutdown(pipe->fd, SHUT_WR);
		watch(epoll, EPOLL_CTL_MOD, pipe->fd, EPOLLIN, (uintptr_t)pipe);
	} else {
		send(pipe->fd, "", 1, MSG_NOSIGNAL);
	}
}

static uint64_t sum(const struct pipe *pipes, int connections)
{
	uint64_t bytes = 0;

	for (int i = 0; i < connections; i++)
		bytes += pipes[i].arrived;
	return bytes;
}

static int live(const struct pipe *pipes, int connections)
{
	int count = 0;

	for (int i = 0; i < connections; i++)
		count += pipes[i].open;
	return count;
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];

	if (argc < 4)
		return 2;
	upwards = !strcmp(argv[1], "up");
	struct sockaddr_in address = address_of(argv[2], argv[3]);
	int connections = option(argc, argv, "--connections", 1);
	uint64_t warmup = option(argc, argv, "--warmup", 0.5) * SECOND;
	uint64_t length = option(argc, argv, "--seconds", 3) * SECOND;
	struct pipe *pipes = calloc(connections, sizeof(*pipes));

	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < connections; i++) {
		pipes[i].fd = connecting(&address);
		pipes[i].open = true;
		if (pipes[i].fd < 0)
			fail("connect");
		watch(epoll, EPOLL_CTL_ADD, pipes[i].fd, upwards ? EPOLLIN | EPOLLOUT : EPOLLIN, (uintptr_t)&pipes[i]);
	}
	uint64_t begin = now() + warmup, end = 0, bytes_before = 0, bytes = 0, time;
	bool measuring = false, stopping = false;
	int lost = 0;

	for (;;) {
		int ready = epoll_wait(epoll, events, 64, 20);

		time = now();
		if (!measuring && time >= begin) {
			measuring = true;
			begin = time;
			bytes_before = sum(pipes, connections);
		}
		if (measuring && !stopping && time >= begin + length) {
			stopping = true;
			end = time;
			bytes = sum(pipes, connections) - bytes_before;
			lost = connections - live(pipes, connections);
			for (int i = 0; i < connections; i++)
				stop(&pipes[i]);
		}
		for (int i = 0; i < ready; i++) {
			struct pipe *pipe = (struct pipe *)(uintptr_t)events[i].data.u64;

			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				drained(pipe);
			if (pipe->open && !pipe->stopping && events[i].events & EPOLLOUT)
				send(pipe->fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
		}
		int left = live(pipes, connections);
		if (stopping && (!left || time > end + PATIENCE)) {
			lost += left;
			break;
		}
		if (!left && !stopping) {
			fprintf(stderr, "every connection was lost\n");
			return 1;
		}
	}
	printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"bytes_in_all\": %" PRIu64 ", \"lost\": %d, \"cpu\": %.3f, \"each\": [",
	       bytes, (end - begin) / 1e9, sum(pipes, connections), lost, cpu_seconds());
	for (int i = 0; i < connections; i++)
		printf("%s%" PRIu64, i ? ", " : "", pipes[i].arrived);
	puts("]}");
	return 0;
}
