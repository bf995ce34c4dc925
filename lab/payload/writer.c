/* Dirties SIZE MiB of memory over and over, at RATE MiB a second: a guest whose live migration does
 * not converge by itself over a link slower than that. Each page holds the number of the round that
 * wrote it last, checked before it is written again, so a lost write shows on the console.
 *
 * Usage: writer SIZE RATE
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAGE = 4096, TICKS = 50 }; /* TICKS a second: writes come in small bursts, not in one */

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t pages = strtoul(argv[1], NULL, 10) * (1024 * 1024 / PAGE);
    size_t per_tick = strtoul(argv[2], NULL, 10) * (1024 * 1024 / PAGE) / TICKS;
    if (pages == 0)
        return 2;
    volatile unsigned char *memory = aligned_alloc(PAGE, pages * PAGE);
    if (memory == NULL) {
        puts("writer: not enough memory");
        return 1;
    }
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    size_t page = 0;
    uint64_t round = 0;
    for (;;) {
        for (size_t i = 0; i < per_tick; i++) {
            volatile uint64_t *word = (volatile uint64_t *)(memory + page * PAGE);
            if (round > 0 && *word != round) {
                printf("writer: LOST WRITE in page %zu: %llu, not %llu\n", page,
                       (unsigned long long)*word, (unsigned long long)round);
                fflush(stdout);
            }
            *word = round + 1;
            if (++page == pages) {
                page = 0;
                round++;
            }
        }
        next.tv_nsec += 1000000000L / TICKS;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        /* Work that was missed is not made up for, so that a throttled processor writes less. */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > next.tv_sec || (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec))
            next = now;
        else
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
