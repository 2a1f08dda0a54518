"""The error that means: the user can mend this."""


class InputError(ValueError):
    """Something a user gave is wrong: a file, a key, a name. The text is one line: what, where, and the way out.

    The command line prints it without a traceback and exits with status 2.
    """


class WaitError(RuntimeError):
    """Something must happen first, for example a retraining. The text names what is missing and the command for it.

    The command line prints it without a traceback and exits with status 1.
    """


class DivergedError(RuntimeError):
    """A training whose loss is no number any more. The text names the step and the last good checkpoint.

    The command line prints it without a traceback and exits with status 1.
    """
