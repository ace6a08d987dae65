"""Ids, names and sealed texts that were not given out here."""

from __future__ import annotations

import base64
import json
import os
import zlib
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ossia.server.responses.sealing import MAX_SEALED_CHARS, MAX_TEXT_BYTES, Sealer, SealError
from support.api_client import MODEL, serving_script
from support.raw_http import exchange, post, request
from support.scripted_service import ScriptedService
from support.security import serving_everything, with_ids

ODD_IDS = (
    "../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f",
    "....//....//",
    "..\\..\\",
    "file:///etc/passwd",
    "%00",
    "resp_1%00.json",
    "%ff%fe",
    "\N{SNOWMAN}",
    "a" * 5000,
    "' OR 1=1 --",
    "{}",
    "*",
    "~root",
    "$HOME",
    "%0d%0aX-Evil:%201",
    "?x",
    "#x",
)


@pytest.fixture
def open_server():
    with serving_script(ScriptedService()) as address:
        yield address


class TestNamesAndPaths:
    """Names and ids that lead elsewhere (CVE-2024-37032, CVE-2024-45436)."""

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "..%2f..%2fetc", "a/b:c", "%00", "\N{SNOWMAN}"]
    )
    def test_other_models_are_not_found(self, open_server, name):
        path = name.encode().decode("latin-1")
        answer = exchange(open_server, request("GET", f"/v1/models/{path}"))
        assert answer.status in (400, 404)
        assert answer.error["type"] == "invalid_request_error"

    @pytest.mark.parametrize(("method", "path"), with_ids(), ids=" ".join)
    def test_no_id_leads_anywhere(self, method, path, tmp_path):
        (tmp_path / "secret").write_text("root:x:0:0")
        with serving_everything(state_folder=tmp_path) as (address, _):
            for odd in (*ODD_IDS, f"..%2f{quote(str(tmp_path), safe='')}%2fsecret"):
                target = path.replace("{}", odd).encode().decode("latin-1")
                body = {"Content-Type": "application/json", "Content-Length": "2"}
                sent = request(method, target, body if method == "POST" else {})
                answer = exchange(address, sent + b"{}" * (method == "POST"))
                # `?` and `#` leave an empty id, or none.
                expected = {400, 404, 405, 200} if odd[0] in "?#" else {400, 404, 405}
                assert answer.status in expected, (odd, answer.body)
                assert b"root:" not in answer.body
                assert "x-evil" not in answer.headers
                if answer.status != 200:
                    assert answer.error["type"] == "invalid_request_error"
            assert exchange(address, request("GET", "/health")).status == 200

    def test_ids_of_clients_are_kept_only_if_they_are_words(self):
        with serving_everything() as (address, _):
            for odd in ("../x", "a b", "\x00", "x" * 1000, "<script>"):
                item = {"id": odd, "role": "user", "content": "Hi"}
                answer = exchange(address, post("/v1/responses", {"input": [item]}))
                assert answer.status == 200
                response_id = json.loads(answer.body)["id"]
                listed = exchange(
                    address, request("GET", f"/v1/responses/{response_id}/input_items")
                )
                (kept,) = json.loads(listed.body)["data"]
                assert kept["id"].startswith("msg_")

    def test_an_id_cannot_be_guessed(self):
        with serving_everything() as (address, _):
            answers = [
                json.loads(exchange(address, post("/v1/responses", {"input": "Hi"})).body)
                for _ in range(3)
            ]
        ids = [one["id"] for one in answers]
        assert len({one[:12] for one in ids}) == 3, "no counter, no clock"
        assert all(len(one) >= 5 + 32 for one in ids)


class TestForgedEncryptedContent:
    """Reasoning and summaries that clients carry, changed, made up, or of somebody else."""

    KEY = bytes(range(32))

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "sealing.key").write_bytes(self.KEY)
        return tmp_path

    def _sent(self, folder, *sealed, kind="reasoning", service=None):
        items = [{"type": kind, "summary": [], "encrypted_content": one} for one in sealed]
        question = {"role": "user", "content": "Hi"}
        with serving_script(service or ScriptedService(), state_folder=folder) as address:
            return exchange(address, post("/v1/responses", {"input": [*items, question]}))

    def _raw(self, packed, *, version=b"\x01", purpose=b"reasoning"):
        """As somebody would seal who had the key: what must be refused for its contents."""
        nonce = os.urandom(12)
        bound = b"\0".join((version, purpose, MODEL.encode()))
        sealed = AESGCM(self.KEY).encrypt(nonce, packed, bound)
        return base64.urlsafe_b64encode(version + nonce + sealed).decode()

    def test_what_was_sealed_here_opens(self, folder):
        sealed = Sealer(self.KEY, MODEL).seal("thoughts")
        assert self._sent(folder, sealed).status == 200
        assert self._sent(folder, self._raw(zlib.compress(b"thoughts"))).status == 200

    def _refused(self, folder, sealed, **options):
        service = ScriptedService()
        answer = self._sent(folder, sealed, service=service, **options)
        assert answer.status == 400
        assert answer.error["code"] == "invalid_encrypted_content"
        assert answer.error["param"] == "input[0].encrypted_content"
        assert service.requests == []

    def test_no_bit_of_it_can_be_changed(self, folder):
        sealed = bytearray(base64.urlsafe_b64decode(Sealer(self.KEY, MODEL).seal("thoughts")))
        for place in range(len(sealed)):
            forged = bytes(sealed[:place]) + bytes([sealed[place] ^ 1]) + bytes(sealed[place + 1 :])
            self._refused(folder, base64.urlsafe_b64encode(forged).decode())

    def test_nothing_of_it_can_be_left_out_or_added(self, folder):
        raw = base64.urlsafe_b64decode(Sealer(self.KEY, MODEL).seal("thoughts"))
        for forged in (raw[:1], raw[:12], raw[:13], raw[:-1], raw + b"x", raw + raw):
            self._refused(folder, base64.urlsafe_b64encode(forged).decode())
        for text in ("x", "!", "a" * 1001, "\N{SNOWMAN}", "AQ==", "Ag=="):
            self._refused(folder, text)

    def test_of_another_key_model_purpose_or_version_it_is_refused(self, folder):
        for sealed in (
            Sealer(bytes(32), MODEL).seal("x"),
            Sealer(self.KEY, "another").seal("x"),
            Sealer(self.KEY, MODEL).seal("x", "compaction"),
            self._raw(zlib.compress(b"x"), version=b"\x02"),
        ):
            self._refused(folder, sealed)
        self._refused(folder, Sealer(self.KEY, MODEL).seal("x"), kind="compaction")

    def test_it_cannot_unpack_to_more_than_its_limit(self, folder):
        bomb = zlib.compress(bytes(MAX_TEXT_BYTES + 1), 9)
        assert len(bomb) < 100_000
        self._refused(folder, self._raw(bomb))
        with pytest.raises(SealError, match="longer than"):
            Sealer(self.KEY, MODEL).open("A" * (MAX_SEALED_CHARS + 1))

    def test_nor_can_many_of_them_together(self, folder):
        large = Sealer(self.KEY, MODEL).seal("a" * (MAX_TEXT_BYTES - 1))
        answer = self._sent(folder, *[large] * 3)
        assert answer.status == 400
        assert answer.error["code"] == "invalid_encrypted_content"
        assert answer.error["param"] == "input[2].encrypted_content"

    def test_what_is_no_text_inside_is_refused_too(self, folder):
        for packed in (b"", b"no zlib", zlib.compress(b"\xff\xfe")):
            self._refused(folder, self._raw(packed))

    def test_replayed_it_means_what_it_meant(self, folder):
        sealed = Sealer(self.KEY, MODEL).seal("thoughts")
        service = ScriptedService()
        assert self._sent(folder, sealed, sealed, service=service).status == 200
        # Twice or once it is what the model thought, and nothing else.
        (sent,) = service.requests
        prompt = service.tokenizer.decode(sent.prompt_ids)
        thought = "<|start|>assistant<|channel|>analysis<|message|>thoughts<|end|>"
        assert prompt.count("thoughts") == prompt.count(thought) == 2

    def test_the_key_is_readable_for_its_owner_only(self, tmp_path):
        Sealer.of_folder(tmp_path, MODEL)
        assert (tmp_path / "sealing.key").stat().st_mode & 0o077 == 0
