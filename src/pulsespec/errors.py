"""Every error that pulsespec raises on purpose, in one tree.

All of them mean that the input cannot be used as it is: the command line turns each into one line on
standard error and exit code 2. A computation that fails to converge is not an error but a result that
says so.
"""


class PulsespecError(Exception):
    """The base of every error that pulsespec raises on purpose."""


class InputError(PulsespecError):
    """An argument or a setting is wrong: the message says which, what came and what was expected."""


class ProtocolError(InputError):
    """A protocol has a wrong key, unit or value; the message names file, key, value and what is allowed."""


class SequenceError(InputError):
    """A sequence cannot be built, played or simulated: limits, timing, no ADC, unsupported events."""


class DataError(InputError):
    """A raw-data, spectrum or basis file is damaged, truncated or of another format than it claims."""


class MismatchError(InputError):
    """Data and basis (or sequence) do not belong together: field, nucleus, TE, sign or reference."""


class WorkerError(PulsespecError):
    """A worker process died again and again, or a cluster cannot be reached: the input may be quite right."""
