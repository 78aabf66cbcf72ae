/* HTTP requests, three ways:
 *
 *	load closed HOST PORT [--connections N]            each connection asks again when it was answered
 *	load open   HOST PORT [--connections N] --rate R   R requests per second on a schedule, on whichever is free
 *	load new    HOST PORT [--connections N]            each request on a connection of its own, N at a time
 *	            [--seconds S] [--warmup S]
 *
 * Latency is counted from when a request was meant to be sent: in the open loop that is the schedule's moment, also
 * when no connection was free (no coordinated omission); with new connections it is the call of connect().
 * What begins in the warm-up is answered and not counted. One line of JSON tells the outcome.
 */
#define _GNU_SOURCE
#include "common.h"

#include <sys/timerfd.h>

#define SLOW (10 * 1000000ull)
#define PATIENCE (5 * SECOND)
#define MOST_ERRORS 10000

enum mode { CLOSED, OPEN, NEW };
enum state { IDLE, CONNECTING, WAITING };

struct connection {
	int fd;
	enum state state;
	uint64_t meant, number;
	size_t got, wanted;
	char head[512];
};

static const char keeping[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
static const char closing[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

static enum mode mode;
static struct sockaddr_in address;
static struct connection *all;
static int epoll, connections;
static uint64_t begin, end, counted, answered, errors, slow, *idle, idles;
static unsigned char *was_slow;
static char first_error[128];
static struct histogram histogram;

static void begin_request(struct connection *connection, uint64_t meant);

static void record(const struct connection *connection, uint64_t latency)
{
	if (connection->meant < begin || connection->meant >= end)
		return;
	histogram_add(&histogram, latency);
	if (latency > SLOW) {
		slow++;
		if (was_slow)
			was_slow[connection->number] = 1;
	}
}

static void failed(struct connection *connection, const char *what)
{
	if (!errors++)
		snprintf(first_error, sizeof(first_error), "%s: %s", what, strerror(errno));
	if (errors == MOST_ERRORS) {
		fprintf(stderr, "too many errors, the first is %s\n", first_error);
		exit(1);
	}
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
}

static void dial(struct connection *connection)
{
	while ((connection->fd = connecting(&address)) < 0)
		failed(connection, "connect");
	connection->state = CONNECTING;
	watch(epoll, EPOLL_CTL_ADD, connection->fd, EPOLLIN | EPOLLOUT, (uintptr_t)connection);
}

static void ask(struct connection *connection)
{
	const char *request = mode == NEW ? closing : keeping;
	size_t length = mode == NEW ? sizeof(closing) - 1 : sizeof(keeping) - 1;

	connection->state = WAITING;
	connection->got = connection->wanted = 0;
	if (send(connection->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) {
		failed(connection, "send");
		dial(connection);
	}
}

static void rest(struct connection *connection)
{
	connection->state = IDLE;
	idle[idles++] = connection - all;
}

static void done(struct connection *connection, uint64_t time)
{
	answered++;
	if (time >= begin && time < end)
		counted++;
	if (mode == OPEN)
		rest(connection);
	else if (time < end)
		begin_request(connection, time);
	else
		rest(connection);
}

/* How many bytes the answer has in all, once its header is whole; 0 until then. */
static size_t size_of_answer(const struct connection *connection)
{
	const char *body = memmem(connection->head, connection->got, "\r\n\r\n", 4);
	const char *length;

	if (!body)
		return 0;
	length = memmem(connection->head, connection->got, "Content-Length: ", 16);
	if (!length || memcmp(connection->head, "HTTP/1.1 200", 12)) {
		fprintf(stderr, "unexpected answer: %.60s\n", connection->head);
		exit(1);
	}
	return body + 4 - connection->head + strtoul(length + 16, NULL, 10);
}

static void hear(struct connection *connection)
{
	static char rest_of_body[64 * 1024];
	bool in_head = connection->got < sizeof(connection->head) && !connection->wanted;
	char *into = in_head ? connection->head + connection->got : rest_of_body;
	ssize_t got = recv(connection->fd, into, in_head ? sizeof(connection->head) - connection->got : sizeof(rest_of_body), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	uint64_t time = now();
	bool whole = connection->wanted && connection->got == connection->wanted;
	if (got == 0 && mode == NEW && whole) {
		close(connection->fd);
		connection->fd = -1;
		done(connection, time);
		return;
	}
	if (got <= 0) {
		errno = got < 0 ? errno : EPIPE;
		failed(connection, "recv");
		dial(connection);
		return;
	}
	connection->got += got;
	if (!connection->wanted)
		connection->wanted = size_of_answer(connection);
	if (!connection->wanted || connection->got < connection->wanted)
		return;
	record(connection, time - connection->meant);
	if (mode != NEW)
		done(connection, time);
}

static void begin_request(struct connection *connection, uint64_t meant)
{
	connection->meant = meant;
	if (mode == NEW)
		dial(connection);
	else
		ask(connection);
}

static void happened(struct connection *connection, uint32_t events)
{
	if (connection->state == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		int error = 0;
		socklen_t size = sizeof(error);

		getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error) {
			errno = error;
			failed(connection, "connect");
			dial(connection);
			return;
		}
		watch(epoll, EPOLL_CTL_MOD, connection->fd, EPOLLIN, (uintptr_t)connection);
		ask(connection);
	} else if (connection->state == WAITING) {
		hear(connection);
	} else if (connection->state == IDLE && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		fprintf(stderr, "a connection that was not in use ended\n");
		exit(1);
	}
}

/* Keep-alive connections are made, and have been answered once, before anything is counted. */
static void prepare(void)
{
	struct epoll_event events[256];
	uint64_t give_up = now() + 30 * SECOND;

	for (int i = 0; i < connections; i++) {
		all[i].fd = -1;
		if (mode == NEW) {
			rest(&all[i]);
			continue;
		}
		all[i].meant = 0;
		dial(&all[i]);
		/* A few at a time: a crowd at the door is what the mode "new" is for. */
		while (idles + 16 <= (uint64_t)i || (i == connections - 1 && idles < (uint64_t)connections)) {
			int ready = epoll_wait(epoll, events, 256, 1000);

			for (int j = 0; j < ready; j++)
				happened((struct connection *)(uintptr_t)events[j].data.u64, events[j].events);
			if (now() > give_up) {
				fprintf(stderr, "not all connections were answered, %" PRIu64 " of %d\n", idles, connections);
				exit(1);
			}
		}
	}
}

static int stalls(uint64_t requests, double rate)
{
	uint64_t apart = rate * SLOW / SECOND + 1, last = 0;
	int count = 0;

	for (uint64_t i = 0; i < requests; i++) {
		if (!was_slow[i])
			continue;
		if (!count || i - last > apart)
			count++;
		last = i;
	}
	return count;
}

int main(int argc, char **argv)
{
	struct epoll_event events[256];

	if (argc < 4)
		return 2;
	mode = !strcmp(argv[1], "open") ? OPEN : !strcmp(argv[1], "new") ? NEW : CLOSED;
	address = address_of(argv[2], argv[3]);
	connections = option(argc, argv, "--connections", 1);
	double rate = option(argc, argv, "--rate", 1000);
	uint64_t warmup = option(argc, argv, "--warmup", 0.5) * SECOND;
	uint64_t length = option(argc, argv, "--seconds", 3) * SECOND;
	all = calloc(connections, sizeof(*all));
	idle = calloc(connections, sizeof(*idle));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	prepare();

	uint64_t start = now(), requests = 0, next = 0;
	answered = 0;
	begin = start + warmup;
	end = begin + length;
	int timer = -1;
	if (mode == OPEN) {
		requests = (warmup + length) / 1e9 * rate;
		was_slow = calloc(requests + 1, 1);
		timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, 0);
	} else {
		while (idles)
			begin_request(&all[idle[--idles]], start);
	}
	for (;;) {
		uint64_t time = now();

		while (mode == OPEN && next < requests && idles && start + (uint64_t)(next / rate * 1e9) <= time) {
			struct connection *connection = &all[idle[--idles]];

			connection->number = next;
			begin_request(connection, start + (uint64_t)(next++ / rate * 1e9));
		}
		if (mode == OPEN && next < requests) {
			uint64_t due = start + (uint64_t)(next / rate * 1e9);
			struct itimerspec when = { .it_value = { due / SECOND, due % SECOND } };

			if (due > time)
				timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
		}
		if (time >= end && idles == (uint64_t)connections && (mode != OPEN || next == requests))
			break;
		if (time >= end + PATIENCE)
			break;
		int ready = epoll_wait(epoll, events, 256, 20);
		for (int i = 0; i < ready; i++) {
			uint64_t expirations;

			if (events[i].data.u64)
				happened((struct connection *)(uintptr_t)events[i].data.u64, events[i].events);
			else if (read(timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
				fail("timerfd");
		}
	}
	/* What was never answered is as late as it can be said to be, and no better. */
	uint64_t unanswered = mode == OPEN ? requests - next : 0, gave_up = now();
	for (int i = 0; i < connections; i++) {
		if (all[i].state == IDLE)
			continue;
		unanswered++;
		record(&all[i], gave_up - all[i].meant);
	}
	for (; mode == OPEN && next < requests; next++) {
		struct connection never = { .meant = start + (uint64_t)(next / rate * 1e9), .number = next };

		record(&never, gave_up - never.meant);
	}
	printf("{\"requests\": %" PRIu64 ", \"seconds\": %.6f, \"requests_in_all\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"first_error\": \"%s\", \"cpu\": %.3f, \"unanswered\": %" PRIu64 ", \"slow\": %" PRIu64 ", \"stalls\": %d, \"latency\": ",
	       counted, length / 1e9, answered, errors, first_error, cpu_seconds(), unanswered, slow,
	       mode == OPEN ? stalls(requests, rate) : 0);
	histogram_print(&histogram);
	puts("}");
	return 0;
}
