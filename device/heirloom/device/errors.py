"""The one error of the device: a code a program can branch on and a sentence a person can read.

The set of codes is closed. Every refusal names the file, the numbers and, where the rule comes from
TUF, its section: `E_ROLLBACK: timestamp is version 41, this device has seen 44 (TUF 5.4.3)`. Pure.
"""

E_FORMAT = "E_FORMAT"  # not the format it should be: JSON, TUF fields, truncated
E_KEYS = "E_KEYS"  # no signature by any of the right keys
E_THRESHOLD = "E_THRESHOLD"  # right keys, too few of them
E_ROLLBACK = "E_ROLLBACK"  # older than what this device has seen
E_STALE = "E_STALE"  # expired: old, or held back by somebody (freeze)
E_MIX = "E_MIX"  # files of different moments mixed
E_HASH = "E_HASH"  # content differs from its signed hash
E_LENGTH = "E_LENGTH"  # longer or shorter than signed or allowed (endless data)
E_NETWORK = "E_NETWORK"  # nobody reachable
E_NOT_FOUND = "E_NOT_FOUND"  # reachable, but it has no such file
E_MANIFEST = "E_MANIFEST"  # the release manifest breaks its rules
E_PRODUCT = "E_PRODUCT"  # release of another product or board
E_FLOOR = "E_FLOOR"  # release below the floor or the confirmed one
E_REQUIRES = "E_REQUIRES"  # another release must come first
E_FAILED = "E_FAILED"  # this release failed here before
E_OWNER = "E_OWNER"  # the owner said no
E_SPACE = "E_SPACE"  # flash is full
E_STATE = "E_STATE"  # the device's own files are damaged or refuse to be written
E_FIRMWARE = "E_FIRMWARE"  # firmware that this unit cannot take
E_TRIAL = "E_TRIAL"  # a trial is running
E_LIMIT = "E_LIMIT"  # more of something than this device handles


class UpdateError(Exception):
    """An update was refused or could not go on. `code` is one of the E_ constants above."""

    code: str
    sentence: str
    recorded: bool = False  # the log says it already

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"
