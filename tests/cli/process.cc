// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace mlxn::testing {
namespace {

struct Pipe {
  int read_end, write_end;
  Pipe() {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    read_end = ends[0];
    write_end = ends[1];
  }
};

[[noreturn]] void exec_child(const std::vector<std::string>& command, const ProcessInput& input,
                             const Pipe& in, const Pipe& out, const Pipe& err) {
  ::dup2(in.read_end, STDIN_FILENO);
  ::dup2(out.write_end, STDOUT_FILENO);
  ::dup2(err.write_end, STDERR_FILENO);
  for (const std::string& variable : input.environment) ::putenv(::strdup(variable.c_str()));
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(::strdup(argument.c_str()));
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

// Reads both streams until both are closed.
void collect(pid_t child, const ProcessInput& input, int out, int err, ProcessResult& result) {
  pollfd streams[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* targets[2] = {&result.out, &result.err};
  bool interrupted = false;
  char buffer[4096];
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    if (::poll(streams, 2, -1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      const ssize_t count = ::read(streams[i].fd, buffer, sizeof(buffer));
      if (count <= 0) {
        streams[i].fd = -1;
      } else {
        targets[i]->append(buffer, static_cast<size_t>(count));
      }
    }
    if (!input.interrupt_after.empty() && !interrupted &&
        result.out.find(input.interrupt_after) != std::string::npos) {
      ::kill(child, input.signal);
      interrupted = true;
    }
  }
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& command, const ProcessInput& input) {
  const Pipe in, out, err;
  const pid_t child = ::fork();
  if (child == 0) exec_child(command, input, in, out, err);
  ::close(in.read_end);
  ::close(out.write_end);
  ::close(err.write_end);
  std::signal(SIGPIPE, SIG_IGN);
  if (::write(in.write_end, input.stdin_text.data(), input.stdin_text.size()) < 0) {
    // The child did not read its stdin; its exit code tells why.
  }
  ::close(in.write_end);
  ProcessResult result;
  collect(child, input, out.read_end, err.read_end, result);
  ::close(out.read_end);
  ::close(err.read_end);
  int status = 0;
  ::waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace mlxn::testing
