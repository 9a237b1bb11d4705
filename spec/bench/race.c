/* Runs two commands in turns, so that the machine's mood is the same for both, and prints the median of each:
 * microseconds of wall clock, and of CPU time with everything that it left behind.
 *      race COUNT STATUS A… -- B…      A must exit with STATUS, B with 0 */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 1000 };

extern char **environ;

typedef struct result {
    int64_t wall, cpu;
} result;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static int64_t cpu_of_children(void)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec +
           used.ru_stime.tv_usec;
}

/* A subreaper gets the guardian when the host is gone, and with it the CPU time it used. */
static result run(char *const *argv, int expected)
{
    pid_t pid;
    int status;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    const int64_t cpu = cpu_of_children(), began = now();
    if (posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) != 0) {
        fprintf(stderr, "race: cannot start %s\n", argv[0]);
        exit(1);
    }
    waitpid(pid, &status, 0);
    result took = {.wall = now() - began};
    posix_spawn_file_actions_destroy(&actions);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
        fprintf(stderr, "race: %s ended with status 0x%x\n", argv[0], (unsigned)status);
        exit(1);
    }
    while (wait(NULL) > 0)
        continue;
    took.cpu = cpu_of_children() - cpu;
    return took;
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print(const result *results, int count)
{
    int64_t walls[TURNS], cpus[TURNS];
    for (int i = 0; i < count; i++) {
        walls[i] = results[i].wall;
        cpus[i] = results[i].cpu;
    }
    qsort(walls, (size_t)count, sizeof *walls, compare);
    qsort(cpus, (size_t)count, sizeof *cpus, compare);
    printf("%lld %lld\n", (long long)walls[count / 2], (long long)cpus[count / 2]);
}

int main(int argc, char **argv)
{
    static result ours[TURNS], least[TURNS];
    char **other = argv + 3;
    while (argc > 4 && *other && strcmp(*other, "--") != 0)
        other++;
    const int count = argc > 4 ? atoi(argv[1]) : 0;
    if (count < 1 || count > TURNS || !*other || !other[1])
        return 2;
    *other++ = NULL;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < count; i++) {
        ours[i] = run(argv + 3, atoi(argv[2]));
        least[i] = run(other, 0);
    }
    print(ours, count);
    print(least, count);
    return 0;
}
