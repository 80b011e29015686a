"""What a server repeats of our keys and passwords is blackened, however it writes them."""

import base64
import json

import pytest

from story_model.asking.secrecy import Secrets, without_credentials


@pytest.mark.parametrize(
    ("address", "bare", "said"),
    [
        ("http://host/v1", "http://host/v1", None),
        ("https://me:p%40ss@host:8000/v1", "https://host:8000/v1", "me:p@ss"),
        ("http://token@[::1]:80/v1?a=b", "http://[::1]:80/v1?a=b", "token:"),
        ("http://a@b:c@host/v1", "http://host/v1", "a@b:c"),
    ],
)
def test_credentials_go_from_the_address_to_the_header(address, bare, said):
    place, headers = without_credentials(address)
    assert place == bare
    assert headers == ({"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"} if said else {})


def test_a_short_key_is_a_word_like_any_other():
    assert Secrets(["none", ""]).hide_text("there are none") == "there are none"
    assert Secrets(["longer-key"]).hide(b"\xff longer-key longer\\u002Dkey LONGER-KEY") == b"\xff *** *** LONGER-KEY"


def test_a_key_is_found_however_json_writes_it():
    key = 'a"key/with\\signs'
    by_number = "".join(f"\\u{ord(sign):04x}" for sign in key)
    for said in (key, json.dumps(key)[1:-1], by_number, by_number.upper().replace("U", "u"), key.replace("/", r"\/")):
        assert Secrets([key]).hide_text(f"<{said}>") == "<***>"
    assert Secrets([key]).hide_text(json.dumps(json.dumps({"said": key}))) == json.dumps(json.dumps({"said": "***"}))


def test_a_key_that_is_part_of_another_leaves_nothing_of_it():
    assert Secrets(["long-key", "long-key-of-another"]).hide_text("long-key-of-another") == "***"


def test_an_address_that_cannot_be_read_is_not_repeated():
    with pytest.raises(ValueError, match="cannot be read") as caught:
        without_credentials("http://me:password@[host/v1")
    assert "password" not in str(caught.value)


def test_a_key_is_found_behind_any_number_of_backslashes_and_looking_for_it_takes_no_longer_for_them():
    """From each backslash anew, a million of them would take an hour."""
    secrets = Secrets(["\\n-a-key", "a-long-key"])
    row = "\\" * 1_000_000
    assert secrets.hide_text(f"{row} a-long-key") == f"{row} ***"
    assert secrets.hide_text(r"\\\a-long-key \\n-a-key") == "*** ***"
