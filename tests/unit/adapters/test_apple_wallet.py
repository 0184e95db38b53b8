import hashlib
import json
import shutil
import subprocess
from io import BytesIO
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from PIL import Image

from adapters.apple_wallet import AppleWallet
from tests.fixtures.documents import TICKET_ID, event_facts, ticket_facts
from tests.fixtures.wallets import PASS_TYPE, TEAM, apple_files, new_key, pem


@pytest.fixture(scope="module")
def files():
    return apple_files()


@pytest.fixture(scope="module")
def wallet(files):
    return AppleWallet(*files)


def unpack(content):
    with ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_pass_says_what_the_ticket_says(wallet):
    said = json.loads(unpack(wallet.issue(ticket_facts()))["pass.json"])
    assert (said["passTypeIdentifier"], said["teamIdentifier"]) == (PASS_TYPE, TEAM)
    assert said["serialNumber"] == str(TICKET_ID)
    (code,) = said["barcodes"]
    assert (code["format"], code["message"]) == ("PKBarcodeFormatQR", ticket_facts().qr_payload)
    assert said["relevantDate"] == "2027-07-03T17:30:00+00:00"
    assert said["locations"] == [{"latitude": 55.676098, "longitude": 12.568337}]
    fields = {field["key"]: field["value"] for part in said["eventTicket"].values() for field in part}
    assert fields["event"] == "Nordic Noise"
    assert fields["when"] == "2027-07-03T19:30+02:00"
    assert (fields["venue"], fields["tier"], fields["attendee"]) == ("Harbour Stage", "Standing", "Ada Lovelace")


def test_the_manifest_vouches_for_every_file(wallet):
    parts = unpack(wallet.issue(ticket_facts()))
    manifest = json.loads(parts["manifest.json"])
    assert manifest.keys() == parts.keys() - {"manifest.json", "signature"}
    assert all(hashlib.sha1(parts[name]).hexdigest() == digest for name, digest in manifest.items())
    sides = {name: Image.open(BytesIO(part)).size[0] for name, part in parts.items() if name.endswith(".png")}
    assert sides == {"icon.png": 29, "icon@2x.png": 58, "icon@3x.png": 87}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's program is the other reader")
def test_another_program_verifies_the_signature_up_to_the_intermediate(wallet, files, tmp_path):
    parts = unpack(wallet.issue(ticket_facts()))
    held = {certificate.serial_number for certificate in load_der_pkcs7_certificates(parts["signature"])}
    assert held == {load_pem_x509_certificate(file).serial_number for file in (files[0], files[2])}
    for name, content in {**parts, "root.pem": files[2], "forged": parts["manifest.json"] + b" "}.items():
        (tmp_path / name).write_bytes(content)
    assert verify(tmp_path, "manifest.json") == 0
    assert verify(tmp_path, "forged") != 0


def verify(folder, name):
    command = "openssl smime -verify -binary -inform DER -in signature -CAfile root.pem -purpose any -content"
    return subprocess.run([*command.split(), name], cwd=folder, check=False, capture_output=True).returncode


def test_what_is_not_known_is_left_out_and_a_cancelled_event_voids(wallet):
    event = event_facts(venue=None, address=None, position=None, is_cancelled=True)
    said = json.loads(unpack(wallet.issue(ticket_facts(event=event)))["pass.json"])
    assert "locations" not in said
    assert said["voided"] is True
    assert [field["key"] for field in said["eventTicket"]["secondaryFields"]] == ["when"]


def test_files_that_do_not_belong_together_stop_it(files):
    with pytest.raises(ValueError, match="APPLE_PASS_KEY is not"):
        AppleWallet(files[0], pem(new_key()), files[2])
    with pytest.raises(ValueError, match="APPLE_PASS_CERTIFICATE is no certificate"):
        AppleWallet(b"none", *files[1:])
    with pytest.raises(ValueError, match="APPLE_PASS_KEY is no PEM"):
        AppleWallet(files[0], b"none", files[2])
    with pytest.raises(ValueError, match="APPLE_WWDR_CERTIFICATE is no certificate"):
        AppleWallet(*files[:2], b"none")
    with pytest.raises(ValueError, match="no pass type"):
        AppleWallet(*apple_files(subject=[(NameOID.COMMON_NAME, "Somebody")]))
