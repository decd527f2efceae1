"""Which choice an answer names: by its letter, by its text, or not at all.

Read is what a person would read: “**B**”, “(B) the dog”, “B, because …”, “It is not A. The answer is B”, “答案是B”. An
answer that names several (“A or B”, “A/B”, “A, B, C”), or by its letter one and by its text another, names none; and no letter
is seen where one only stands for a word (“a dog”, “C'est un chat”, “B-52”).
"""

import re
from collections.abc import Sequence

from eval.markup import unmarked
from eval.normalise import ARTICLES, plain

#: Letters of other scripts whose place is known by themselves. Cyrillic В and С look like Latin ones, イ is first in one order
#: and second in another: they name nothing.
_OTHER_LETTERS = {
    **dict(zip("①②③④⑤⑥", range(6), strict=True)),
    **dict(zip("甲乙丙丁", range(4), strict=True)),
    **dict(zip("가나다라마", range(5), strict=True)),
    **dict(zip("कखगघ", range(4), strict=True)),
    **dict(zip("أبجد", range(4), strict=True)),
    **{"а": 0, "б": 1, "г": 3, "д": 4, "ア": 0, "ウ": 2, "エ": 3, "オ": 4, "β": 1, "γ": 2, "δ": 3},
}
_NOUN = (
    r"(?:answer|option|choice|letter|response|solution|antwort|lösung|möglichkeit|buchstabe|réponse|choix|lettre"
    r"|respuesta|opción|letra"
    r"|resposta|opção|alternativa|risposta|opzione|lettera|antwoord|optie|cevap|seçenek|ответ|вариант|відповідь|odpowiedź"
    r"|答案|答え|正解|回答|选项|選項|選択肢|选择|選擇|选|選|정답|답|선택지|उत्तर|विकल्प|الإجابة|الجواب|الخيار)"
)
_ADJECTIVE = (
    r"(?:correct|right|best|final|only|true|most likely|richtige|korrekte|endgültige|bonne|correcte|finale?|correcta|final"
    r"|correta|corretta|giusta|правильный|верный|正确|正確|最终|最終|सही|juiste)"
)
_IS = (
    r"(?:(?:is|would be|should be|must be|has to be|was|ist|lautet|wäre|est|serait|es|sería|é|è)(?![a-z])"
    r"|(?:это|является|是|为|為|は|が|은|는|है|هي|هو|=|—|–|-|->|=>|→))"
)
_DET = r"(?:the|my|our|die|das|la|le|l['’]|il|el|a|o|het|de)"
#: “The correct answer is”, “Option”, “答案是”, “I would choose”.
_LEAD = (
    rf"(?:{_DET} ?)?(?:{_ADJECTIVE} ?(?:的)?)*{_NOUN}(?: ?{_ADJECTIVE})*(?:\W{{0,3}}(?:to (?:the|this) question|here))?"
    rf"(?: ?:)? ?(?:{_IS})? ?(?::)? ?(?:(?:{_DET} )?{_NOUN} ?(?:{_IS})? ?:? ?)?(?:(?:the|die|la|le|el) )?"
)
_CHOOSE = (
    r"(?:i(?:['’]d| would|['’]ll| will)? (?:choose|pick|select|go (?:with|for)|say|answer)"
    r"|i (?:think|believe) (?:it['’]?s|it is|that it is)"
    r"|it['’]?s|it is|it must be|this is|that is|that['’]s"
    r"|ich wähle|es ist|je choisis|c['’]est|elijo|es|scelgo|escolho|选|選|我选|我選|应选)"
    rf" ?(?:{_DET} )?(?:{_NOUN} ?:? ?)?"
)
_FILLER = r"(?:(?:so|therefore|thus|hence|ok(?:ay)?|well|sure|also|donc|por tanto|因此|所以|したがって)[,:，]? ?)*"
_THINK = r"(?:i (?:think|believe) (?:that )?|ich (?:denke|glaube),? |je (?:pense|crois) (?:que )?|creo que )?"
_LETTER = r"[(\[\"'“‘«]? ?(?<![a-z0-9])([a-z])(?=( ?[)\].:,;\-–—(（=，。、：\"'”’»]|$| |[\u3040-\u9fff\uac00-\ud7af]))( ?[)\]])?"
_NAMED = re.compile(rf"{_FILLER}{_THINK}(?:{_LEAD}|{_CHOOSE})?{_LETTER}")
_STARTS = re.compile(rf"{_FILLER}{_THINK}(?:{_LEAD}|{_CHOOSE})")
#: The same anywhere in a text; a letter without such words before it means nothing there.
_VERDICT = re.compile(rf"(?<![^\W_])(?:{_LEAD}){_LETTER}")
_REASON = re.compile(
    r"[,.;:]? ?[(\[]?(?:because|since|as (?:the|it|there)|due to|for the|weil|denn|da |parce qu|car |puisqu|porque"
    r"|ya que|pues|perch[eé]|poich[eé]"
    r"|omdat|çünkü|потому|так как|поскольку|because of|因为|因為|なぜなら|理由|क्योंकि|لأن)"
)
_CORRECT = re.compile(
    r" (?:is|ist|est|es|è|é) (?:the |die |la |el |il |a )?"
    r"(?:correct|right|best|true|richtig|korrekt|correcte?|correcta|correto|corretta|juste)"
    rf"(?: (?:{_NOUN}|one))?[.!]?$"
)
_POLITE = {"です", "だ", "である", "입니다", "이다"}
#: Another letter, or a word that takes the first one back.
_ANOTHER = re.compile(
    r"[\s)\].,;:]*(?:(?:and|or|und|oder|et|ou|y|o|e|и|или|和|或|或者|および"
    r"|または|と|か|또는|या|أو|maybe|perhaps|possibly|also"
    r"|either|even|vielleicht|peut-être|quizás|[&/|,;+])[\s,]*)*"
    r"[(\[]?[a-z](?:[)\].,;:/&]|$|(?: (?:or|and|und|oder|et|ou|y|o)\b))"
)
_HEDGE = re.compile(
    r"\b(?:or (?:maybe|perhaps|possibly)?|not sure|unsure|uncertain|cannot|can['’]t|could also|might also|either|neither"
    r"|none of|both|oder|vielleicht|ou (?:bien|peut)|not certain|wrong|incorrect|false|falsch|faux|incorrecta|unlikely)\b"
    r"|\bn['’]t\b|或者|或是|不确定|または|不正确|错"
)


def read_choice(text: str, choices: Sequence[str]) -> int | None:
    """Which choice a text names (0-based): by its text, by its letter (“B”, “(b)”, “option B”), or by both if they agree.
    None if it names none or several, or by its letter one and by its text another."""
    texts = [plain(choice) for choice in choices]
    if (folded := plain(text)) in texts:
        return texts.index(folded)
    # What is one of them only without its markup must be no other one.
    bare = [plain(unmarked(choice)) for choice in choices]
    if bare.count(folded := plain(unmarked(text))) == 1:
        return bare.index(folded)
    if (other := _OTHER_LETTERS.get(text.strip(" .。()（）"))) is not None and other < len(texts):
        return other
    if (other := _OTHER_LETTERS.get(folded)) is not None and other < len(texts):
        return other
    found = _by_letter(folded, bare)
    return _by_text(folded, bare) if found is None else found if found >= 0 else None


def _by_letter(folded: str, texts: Sequence[str]) -> int | None:
    """The place of the letter that is named; -1 where what is said contradicts itself; None if no letter is named."""
    named = [match for match in (_NAMED.match(folded), *_VERDICT.finditer(folded)) if match]
    places = {place for match in named if (place := _place(match, folded, texts)) is not None}
    return None if not places else places.pop() if len(places) == 1 else -1


def _place(match: re.Match[str], folded: str, texts: Sequence[str]) -> int | None:
    """The place of a letter by what stands behind it: nothing, its choice's text, a reason; -1 if that is another's."""
    place, closed, rest = ord(match[1]) - ord("a"), bool(match[3]), folded[match.end() :]
    if place >= len(texts):
        return None
    told = plain(re.sub(r"^[\s)\].:,;\-–—(（=，。、：]+", "", rest)).rstrip(")） ") if rest.strip() else ""
    forms = {told, _without_article(told)}
    if not told or told in _POLITE or texts[place] in forms:
        return place
    delimited = closed or re.match(r"[.:)\],;，。、：](?=\s|$|[^\x00-\x7f])| ?[(（]| [-–—=] |:(?=\S)", rest)
    if not forms.isdisjoint(texts):
        return -1 if delimited else None
    if _REASON.match(rest) or _CORRECT.match(rest):
        return -1 if _HEDGE.search(rest[:30]) and not _REASON.match(rest) else place
    if _ANOTHER.match(rest) or _HEDGE.search(rest):
        return -1 if _ANOTHER.match(rest) else None
    return place if delimited else None


def _by_text(folded: str, texts: Sequence[str]) -> int | None:
    """The choice whose text is all that is said beside “the answer is” and an article."""
    forms = (folded, _without_article(folded), said := without_lead(folded), _without_article(said))
    return next((texts.index(form) for form in forms if texts.count(form) == 1), None)


def _without_article(text: str) -> str:
    first, _, rest = text.partition(" ")
    return rest if first in ARTICLES else text


def without_lead(text: str) -> str:
    """A text as `plain` gives it without “So the answer is” at its start."""
    return plain(_STARTS.sub("", text, count=1))
