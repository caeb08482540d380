"""Errors that a person sees: a sentence, what to do next, and the exit code of the program."""


class HeirloomError(Exception):
    """Something failed that is not a fault of this program.

    Args:
        message: One sentence, no full stop: what is wrong and with what.
        advice: What to do next, or empty.
        exit_code: 1 failed, 2 usage, 3 attention needed, 4 rig trouble.
    """

    def __init__(self, message: str, advice: str = "", *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit_code = exit_code


class UsageError(HeirloomError):
    """The command line asks for something that cannot be meant. Exit code 2."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice, exit_code=2)


class AttentionNeeded(HeirloomError):  # noqa: N818 - it is not an error
    """Nothing failed, but a person should act. Exit code 3."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice, exit_code=3)


class RigTrouble(HeirloomError):  # noqa: N818 - the rig's word for it
    """The test equipment misbehaves; it says nothing about a release. Exit code 4."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice, exit_code=4)
