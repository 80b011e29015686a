# ruff: noqa: RUF001 - the letters of many languages are meant
import random

import pytest

from storystream_builder.listening.text_encoding import decode_text

CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Kam jdeš? Jdu domů, je už pozdě."
POLISH = "Gdzie idziesz? Idę do domu, bo jest już późno. Dziękuję, proszę bardzo, śpij już."
HUNGARIAN = "Hová mész? Hazamegyek, mert már késő van. Köszönöm szépen, tűz és fű."
RUSSIAN = "Куда ты идёшь? Я иду домой, потому что уже поздно. Спасибо, всё будет хорошо."
GERMAN = "Ich gehe nach Hause, weil es spät ist. Schöne Grüße – „das weiß ich“."
FRENCH = "Où vas-tu ? Je rentre, parce qu’il est déjà tard. Ça ira mieux, c’est promis. Être…"
SPANISH = "¿Adónde vas? ¡Mañana será otro día, señor!"
GREEK = "Πού πας; Πάω σπίτι, γιατί είναι ήδη αργά. Ευχαριστώ, όλα θα πάνε καλά."
TURKISH = "Nereye gidiyorsun? Eve gidiyorum, çünkü artık geç oldu. Teşekkür ederim, her şey düzelecek."
HEBREW = "לאן אתה הולך? אני הולך הביתה כי כבר מאוחר. תודה רבה, הכל יהיה בסדר."
ARABIC = "إلى أين تذهب؟ أنا ذاهب إلى البيت لأن الوقت متأخر. شكرا جزيلا."
LITHUANIAN = "Kur tu eini? Einu namo, nes jau vėlu. Ačiū, viskas bus gerai. Žinoma, šįvakar."
THAI = "คุณจะไปไหน ฉันจะกลับบ้านเพราะดึกแล้ว ขอบคุณ"
JAPANESE = "どこへ行くの。もう遅いから家に帰るよ。ありがとう、きっと大丈夫。"
SIMPLIFIED = "你要去哪里。我要回家了，因为已经很晚了。谢谢你，一切都会好的。"
TRADITIONAL = "你要去哪裡。我要回家了，因為已經很晚了。謝謝你，一切都會好的。"
KOREAN = "어디 가세요? 너무 늦어서 집에 가요. 감사합니다, 다 잘될 거예요."

OLD = [
    ("cp1250", CZECH),
    ("cp1250", POLISH),
    ("cp1250", HUNGARIAN),
    ("cp1251", RUSSIAN),
    ("koi8_r", RUSSIAN),
    ("cp1252", GERMAN),
    ("cp1252", FRENCH),
    ("cp1252", SPANISH),
    ("cp1253", GREEK),
    ("cp1254", TURKISH),
    ("cp1255", HEBREW),
    ("cp1256", ARABIC),
    ("cp1257", LITHUANIAN),
    ("cp874", THAI),
    ("shift_jis", JAPANESE),
    ("euc_jp", JAPANESE),
    ("gb18030", SIMPLIFIED),
    ("gb2312", SIMPLIFIED),
    ("big5", TRADITIONAL),
    ("euc_kr", KOREAN),
]
each_old = pytest.mark.parametrize(("encoding", "text"), OLD, ids=lambda value: value[:10])


def subtitles(text):
    sentences = [part for part in text.replace("。", "。\n").replace(". ", ".\n").splitlines() if part]
    return "".join(f"{i}\n00:00:{i:02d},000 --> 00:00:{i:02d},900\n{line}\n\n" for i, line in enumerate(sentences, 1))


@each_old
def test_old_encodings_are_guessed_and_noted(encoding, text):
    read, notes = decode_text(subtitles(text).encode(encoding))
    assert read == subtitles(text)
    assert [note for note in notes if "guess" in note]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [GERMAN, RUSSIAN, JAPANESE, "plain"])
def test_unicode_is_read_without_a_note(encoding, text):
    assert decode_text(text.encode(encoding)) == (text, [])


def test_unicode_with_its_mark_may_put_high_bytes_first():
    assert decode_text(b"\xfe\xff" + "Käse".encode("utf-16-be")) == ("Käse", [])


def test_japanese_in_seven_bits_is_read():
    assert decode_text(JAPANESE.encode("iso2022_jp")) == (JAPANESE, [])


@pytest.mark.parametrize(("language", "text"), [("he", "שלום"), ("ru", "Привет"), ("ja", "猫だ"), ("zh-TW", "謝謝")])
def test_a_few_letters_are_read_right_where_the_language_is_known(language, text):
    encoding = {"he": "cp1255", "ru": "cp1251", "ja": "cp932", "zh-TW": "big5"}[language]
    assert decode_text(text.encode(encoding), language=language)[0] == text


@pytest.mark.parametrize("language", ["en", "xx", "not a language", "ja"])
def test_a_language_that_says_nothing_or_lies_does_no_harm(language):
    assert decode_text(subtitles(GERMAN).encode("cp1252"), language=language)[0] == subtitles(GERMAN)


def test_a_few_broken_bytes_do_not_make_unicode_something_else():
    data = subtitles(RUSSIAN).encode()
    at = data.index("домой".encode())
    read, notes = decode_text(data[:at] + b"\xff" + data[at:])
    assert read == subtitles(RUSSIAN)
    assert notes == ["1 broken characters were left out of the subtitles"]


def test_unicode_that_was_cut_in_the_middle_of_a_letter_is_read():
    read, notes = decode_text(RUSSIAN.encode("utf-16")[:-1])
    assert (read, len(notes)) == (RUSSIAN[:-1], 1)


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 20,
        b"\x00" * 100,
        random.Random(0).randbytes(5000),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + random.Random(1).randbytes(3000),
    ],
)
def test_what_is_no_text_is_refused(data):
    with pytest.raises(ValueError, match="encoding is unknown"):
        decode_text(data)


def test_nothing_is_an_empty_text():
    assert decode_text(b"") == ("", [])
