"""hsm:ID?label=LABEL: a PKCS#11 token, such as a YubiKey (PIV), a smart card or SoftHSM; P-256 keys.

PYKCS11LIB names the token's PKCS#11 module. securesystemslib signs on tokens with P-256 and P-384, of which devices
verify P-256. A wrong PIN is never tried twice: tokens lock themselves after a few.
"""

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from securesystemslib.signer import HSMSigner, SecretsHandler, Signature, Signer, SSlibKey

from heirloom.cli.errors import HeirloomError
from heirloom.signing.backends import Backend
from heirloom.signing.passphrases import Passphrases

if TYPE_CHECKING:
    import pkcs11

MODULE_VARIABLE = "PYKCS11LIB"

_URI = re.compile(r"hsm:([0-9]{1,9})?(?:\?label=[^&#]+)?")
_IDS = range(1, 256)
_UNLOCK = "unlock it with its PUK or by its security officer"


class TokenKeys(Backend):
    """Keys on PKCS#11 tokens."""

    where = "a PKCS#11 token"
    example = "hsm:2?label=YubiKey+PIV+%2312345678"
    extra = "hsm"

    def unreachable(self, uri: str) -> str | None:
        """Whether the token is not plugged in. A locked one is here all the same."""
        _number(uri)
        if not os.environ.get(MODULE_VARIABLE):
            return f"{MODULE_VARIABLE} does not name the token's PKCS#11 module"
        try:
            _find(uri)
        except _AbsentError as exc:
            return exc.message
        return None

    def hint(self) -> str:
        """See `Backend.hint`."""
        return (
            f"it needs the token, and {MODULE_VARIABLE} with its PKCS#11 module, "
            "as in /usr/lib/x86_64-linux-gnu/libykcs11.so"
        )

    def fetch(self, uri: str, secrets: SecretsHandler) -> tuple[str, SSlibKey]:
        """See `Backend.fetch`. The PIN is asked for only by tokens that hide public keys."""
        pin = _Pin(uri, secrets)
        with pin:
            return HSMSigner.import_(_number(uri), _label(uri), pin)

    def signer(self, uri: str, public: SSlibKey, secrets: SecretsHandler) -> Signer:
        """See `Backend.signer`. The PIN is asked for at the first signature."""
        number = _number(uri)
        return _TokenSigner(
            HSMSigner.SCHEME_KEYID if number is None else number, public, _Pin(uri, secrets), _label(uri)
        )

    def create(self, uri: str, secrets: SecretsHandler, name: str) -> str:
        """Make a P-256 key on the token, which never leaves it.

        Args:
            uri: Of the new key; without an ID the first free one is taken.
            secrets: Asked for the PIN.
            name: A label of the key on the token.

        Returns:
            The full URI.

        Raises:
            HeirloomError: There is a key with that ID, or the token does not make keys for its user.
        """
        from pkcs11.exceptions import PKCS11Error

        if reason := self.missing(uri):
            raise HeirloomError(f"cannot make the key {uri}: {reason}", self.advice())
        pin = _Pin(uri, secrets)
        try:
            with pin, _find(uri).open(rw=True, user_pin=pin("")) as session:
                number = _free(session, uri)
                _generate(session, number, name)
        except PKCS11Error as exc:
            raise HeirloomError(
                f"token {_label(uri) or ''} did not make a key: {_reason(exc)}",
                "make a P-256 key with the token's own program, then run `heirloom key import`",
            ) from exc
        label = _label(uri)
        return f"hsm:{number}" + (f"?{urlencode({'label': label})}" if label else "")

    def explain(self, exc: Exception, uri: str) -> HeirloomError:
        """PKCS#11 errors have names and no sentences."""
        return HeirloomError(f"cannot use the key {uri}: {str(exc).strip() or _reason(exc)}", self.hint())


class _AbsentError(HeirloomError):
    """The token is not plugged in, or its module does not load."""


class _Pin:
    """Asks for a token's PIN, but never when that could only do harm; and tells what a refused one means.

    As a context manager it surrounds the use of the PIN.
    """

    def __init__(self, uri: str, secrets: SecretsHandler) -> None:
        self._uri = uri
        self._secrets = secrets
        self._refused = False

    def __call__(self, _secret: str) -> str:
        """The PIN."""
        from pkcs11 import TokenFlag

        token = _find(self._uri)
        if TokenFlag.USER_PIN_LOCKED in token.flags:
            raise HeirloomError(f"token {token.label} is locked: too many wrong PINs", _UNLOCK)
        if self._refused:
            raise HeirloomError(f"the PIN of token {token.label} was refused, and is not tried again", "start again")
        if isinstance(self._secrets, Passphrases):
            return self._secrets.pin(token.label, last_try=TokenFlag.USER_PIN_FINAL_TRY in token.flags)
        return self._secrets(f"PIN of token {token.label}")

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        from pkcs11 import exceptions as refusals

        wrong = (refusals.PinIncorrect, refusals.PinInvalid, refusals.PinLenRange)
        if isinstance(exc, refusals.PinLocked):
            raise HeirloomError(f"token {_find(self._uri).label} is locked: too many wrong PINs", _UNLOCK) from exc
        if isinstance(exc, wrong):
            self._refused = True
            token = _find(self._uri)
            if isinstance(self._secrets, Passphrases):
                self._secrets.refuse_pin(token.label)
            raise _wrong_pin(token) from exc


class _TokenSigner(HSMSigner):
    """securesystemslib's, with a wrong PIN told in words."""

    def sign(self, payload: bytes) -> Signature:
        """Sign on the token; HeirloomError for a wrong PIN."""
        pin = self.pin_handler
        assert isinstance(pin, _Pin)  # noqa: S101 - we made it; the type is wider in the base class
        with pin:
            return super().sign(payload)


def _wrong_pin(token: "pkcs11.Token") -> HeirloomError:
    """What the token tells about the tries that are left: PKCS#11 has three flags for that, and no number."""
    from pkcs11 import TokenFlag

    wrong = f"wrong PIN for token {token.label}"
    if TokenFlag.USER_PIN_LOCKED in token.flags:
        return HeirloomError(f"{wrong}: it has locked itself", _UNLOCK)
    if TokenFlag.USER_PIN_FINAL_TRY in token.flags:
        return HeirloomError(f"{wrong}: one try is left before it locks itself", "be sure before you try again")
    if TokenFlag.USER_PIN_COUNT_LOW in token.flags:
        return HeirloomError(f"{wrong}: fewer tries are left, but more than one", "the right PIN resets the count")
    return HeirloomError(wrong, "the token does not tell how many tries are left; many lock themselves after three")


def _number(uri: str) -> int | None:
    """The ID of the key on the token."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise HeirloomError(f"{uri} is no key on a token", f"as in {TokenKeys.example}")
    return int(match[1]) if match[1] else None


def _label(uri: str) -> str | None:
    return dict(parse_qsl(uri.partition("?")[2])).get("label")


def _find(uri: str) -> "pkcs11.Token":
    """The token, as it is now: its flags change with each PIN."""
    import pkcs11

    label, module = _label(uri), os.environ.get(MODULE_VARIABLE, "")
    try:
        tokens = list(pkcs11.lib(module).get_tokens(label, token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED))
    except pkcs11.exceptions.PKCS11Error as exc:
        raise _AbsentError(f"the PKCS#11 module {module} does not load: {_reason(exc)}") from exc
    if not tokens:
        raise _AbsentError(f"no token labelled {label} is plugged in" if label else "no token is plugged in")
    if len(tokens) > 1:
        labels = ", ".join(sorted(token.label for token in tokens))
        raise HeirloomError(f"several tokens are plugged in: {labels}", "name one: hsm:ID?label=LABEL")
    return tokens[0]


def _free(session: "pkcs11.Session", uri: str) -> int:
    """The ID for a new key."""
    from pkcs11 import Attribute
    from pkcs11.util import biginteger

    used = {int.from_bytes(item[Attribute.ID], "big") for item in session.get_objects() if _has_id(item)}
    number = _number(uri)
    if number is None:
        return next(candidate for candidate in _IDS if candidate not in used)
    if any(session.get_objects({Attribute.ID: biginteger(number)})):
        raise HeirloomError(
            f"there is a key with ID {number} on the token", "keys are never overwritten: take another ID"
        )
    return number


def _has_id(item: "pkcs11.Object") -> bool:
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    try:
        return bool(item[Attribute.ID])
    except PKCS11Error:
        return False


def _generate(session: "pkcs11.Session", number: int, name: str) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util import biginteger
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    stays = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    parameters.generate_keypair(id=biginteger(number), label=name, store=True, private_template=stays)


def _reason(exc: Exception) -> str:
    return str(exc).strip() or re.sub(r"(?<!^)(?=[A-Z])", " ", type(exc).__name__).lower()


BACKEND = TokenKeys()
