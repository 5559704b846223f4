/* The wall clock of a process, moved by CLOCK_OFFSET seconds: tools/test_clock.sh preloads it.
 *
 * Only what is read and waited for as a time of day moves; durations, sleeping and monotonic clocks
 * are left alone. libfaketime touches them: `time.sleep` of Python 3.11 and later raises EINVAL
 * under it, and no timeout of Postgres comes, since a signal's handler that interrupts its
 * `epoll_wait` reads the clock of the machine.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define A_BILLION 1000000000

static time_t offset(void) {
    static time_t seconds;
    static volatile int is_read; /* once: a thread may change the environment meanwhile */
    if (!is_read) {
        const char *text = getenv("CLOCK_OFFSET");
        seconds = text ? atol(text) : 0;
        is_read = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += offset();
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds) {
        *seconds = now.tv_sec;
    }
    return now.tv_sec;
}

static struct timespec of_the_machine(const struct timespec *deadline) {
    return (struct timespec){deadline->tv_sec - offset(), deadline->tv_nsec};
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    struct timespec until = of_the_machine(deadline);
    return sem_clockwait(semaphore, CLOCK_REALTIME, &until);
}

int pthread_mutex_timedlock(
    pthread_mutex_t *restrict mutex, const struct timespec *restrict deadline) {
    struct timespec until = of_the_machine(deadline);
    return pthread_mutex_clocklock(mutex, CLOCK_REALTIME, &until);
}

int pthread_cond_timedwait(
    pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
    const struct timespec *restrict deadline) {
    /* Which clock a condition has cannot be asked; no machine is up for 30 years. */
    if (deadline->tv_sec < A_BILLION) {
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, deadline);
    }
    struct timespec until = of_the_machine(deadline);
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &until);
}
