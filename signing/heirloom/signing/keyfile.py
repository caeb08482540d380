"""Private keys as files: PKCS#8, encrypted with AES-256-CBC under a key that scrypt makes of a passphrase.

`cryptography` reads such files but writes PKCS#8 with 2,048 rounds of PBKDF2 only, which a graphics card
guesses through. So the container (RFC 5958, RFC 8018 A.4, RFC 7914 7) is put together here, from
`cryptography`'s scrypt and AES, and read back by `cryptography` itself. `openssl pkey` reads it too.
"""

import base64
import os

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

# 16 MiB, twice: about 80 ms on a small machine. OpenSSL refuses to read files with more memory than 32 MiB.
SCRYPT_N = 1 << 14
SCRYPT_R = 8
SCRYPT_P = 2

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30


def seal(key: PrivateKeyTypes, passphrase: str) -> bytes:
    """`key` as an encrypted PKCS#8 PEM file."""
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, iv = os.urandom(16), os.urandom(16)
    secret = Scrypt(salt, 32, SCRYPT_N, SCRYPT_R, SCRYPT_P).derive(passphrase.encode())
    costs = b"".join(_integer(number) for number in (SCRYPT_N, SCRYPT_R, SCRYPT_P))
    derivation = _tagged(_SEQUENCE, _SCRYPT + _tagged(_SEQUENCE, _tagged(_OCTETS, salt) + costs))
    cipher = _tagged(_SEQUENCE, _AES_256_CBC + _tagged(_OCTETS, iv))
    algorithm = _tagged(_SEQUENCE, _PBES2 + _tagged(_SEQUENCE, derivation + cipher))
    return _pem(_tagged(_SEQUENCE, algorithm + _tagged(_OCTETS, _encrypt(plain, secret, iv))))


def open_sealed(pem: bytes, passphrase: str) -> PrivateKeyTypes:
    """The key in an encrypted PKCS#8 PEM file.

    Raises:
        ValueError: The passphrase is wrong or the file is damaged: nobody can tell these apart.
    """
    try:
        return serialization.load_pem_private_key(pem, passphrase.encode())
    except (ValueError, TypeError) as exc:
        raise ValueError("the passphrase is wrong or the key is damaged") from exc


def _encrypt(plain: bytes, secret: bytes, iv: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(secret), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _tagged(tag: int, content: bytes) -> bytes:
    """DER: tag, length, content."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _integer(number: int) -> bytes:
    return _tagged(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _pem(der: bytes) -> bytes:
    label = b"ENCRYPTED PRIVATE KEY"
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, base64.encodebytes(der), label)
