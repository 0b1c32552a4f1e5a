/* The least a worker can do: says that it runs, with one byte on standard output, and waits. */
#include <unistd.h>

int main(void) {
    if (write(1, "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}
