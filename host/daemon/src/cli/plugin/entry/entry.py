"""Written by `host plugin build`, and removed when the plugin is built: what a policy prints becomes lines of its log."""

import io
import sys

from wit_world.imports import log

# While a plugin is built there is no log: what is printed then goes where the compiler prints.
built = False


class Lines(io.TextIOBase):
    """A text file whose lines end up in the log. A line is passed on when it ends or is flushed."""

    def __init__(self, level, while_built):
        self.level = level
        self.while_built = while_built
        self.unended = ""

    def writable(self):
        return True

    def write(self, text):
        if not built:
            return self.while_built.write(text)
        *lines, self.unended = (self.unended + text).split("\n")
        for line in lines:
            log.write(self.level, line)
        return len(text)

    def flush(self):
        if not built:
            self.while_built.flush()
        elif self.unended:
            line, self.unended = self.unended, ""
            log.write(self.level, line)


def tell(kind, error, trace):
    """Prints why a policy fails. The interpreter's own way to do it reads source files, and a guest has none."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        tell(type(cause), cause, cause.__traceback__)
        print("which led to:", file=sys.stderr)
    print("Traceback (most recent call last):", file=sys.stderr)
    while trace is not None:
        code = trace.tb_frame.f_code
        print(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_qualname}', file=sys.stderr)
        trace = trace.tb_next
    print(f"{kind.__name__}: {error}", file=sys.stderr)


sys.stdout = Lines(log.Level.INFO, sys.stdout)
sys.stderr = Lines(log.Level.WARN, sys.stderr)

import policy  # noqa: E402: it may print while it is imported

sys.stdout.flush()
sys.stderr.flush()
sys.excepthook = tell
built = True
# The compiler looks for the policy's classes in the module that it was told of.
sys.modules[__name__] = policy
