/* The least a supervisor can do: start COUNT copies of a program, wait, replace what ends. On TERM it
 * kills them and ends. `floor echo PATH` answers lines on a socket instead, for round trips. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t ending;

static void end(int number) {
    (void)number;
    ending = 1;
    /* A signal that comes between a look at `ending` and the wait does not interrupt it; the next one does. */
    alarm(1);
}

static pid_t start(char **program) {
    pid_t pid = fork();
    if (pid == 0) {
        execv(program[0], program);
        _exit(127);
    }
    return pid;
}

static int echo(const char *path) {
    char line[4096];
    ssize_t length;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        return 1;
    client = accept(listener, 0, 0);
    while ((length = read(client, line, sizeof line)) > 0)
        if (write(client, line, (size_t)length) != length)
            return 1;
    return 0;
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = end};
    if (argc == 3 && !strcmp(argv[1], "echo"))
        return echo(argv[2]);
    if (argc < 3)
        return 2;
    int count = atoi(argv[1]);
    pid_t *pids = calloc((size_t)count, sizeof *pids);
    sigaction(SIGTERM, &action, 0);
    sigaction(SIGALRM, &action, 0);
    for (int i = 0; i < count; i++)
        pids[i] = start(argv + 2);
    while (!ending) {
        pid_t gone = waitpid(-1, 0, 0);
        for (int i = 0; gone > 0 && i < count && !ending; i++)
            if (pids[i] == gone) {
                pids[i] = start(argv + 2);
                break;
            }
    }
    for (int i = 0; i < count; i++)
        if (pids[i] > 0)
            kill(pids[i], SIGKILL);
    while (waitpid(-1, 0, 0) > 0 || errno == EINTR)
        ;
    return 0;
}
