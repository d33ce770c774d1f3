#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **word) {
  int status = 0, tenths = atoi(word[1]) * 10;
  pid_t child = count > 2 ? fork() : -1;
  if (child == 0) {
    execv(word[2], word + 2);
    perror(word[2]);
    _exit(127);
  }
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (tenths-- == 0) {
      fprintf(stderr, "image.test: %s did not end within %s s\n", word[2], word[1]);
      return 124;
    }
    usleep(100000);
  }
  if (WIFSIGNALED(status)) fprintf(stderr, "image.test: %s was killed by signal %d\n", word[2], WTERMSIG(status));
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
