"""The words around an answer, in the languages that models answer in: what leads to it, what takes it back, what gives a reason.

The tables hold what was seen in answers, not grammars. A word that they lack makes an answer unread, never misread. Texts are
NFKC: a full-width colon is a colon.
"""

import re

_COLON = r"\s*(?:[:=]|[-–—](?=\s))\s*"
#: By language, what states an answer: what follows it is the answer.
_STATED = {
    "en": rf"""(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best|most\s+likely)\s+)?(?:answer|ans\.?|option|choice)
        (?:\s+to\s+(?:the|this)\s+question)?
        (?:\s+(?:is|was|would\s+be|must\s+be|should\s+be|has\s+to\s+be)\b\s*[:]?\s*|['’]s\s+|{_COLON})""",
    "de": rf"""(?:(?:die|meine)\s+)?(?:(?:richtige|korrekte|endgültige|beste)\s+)?(?:antwort|lösung|option)
        (?:\s+(?:ist|lautet|wäre)\b\s*[:]?\s*|{_COLON})""",
    "fr": rf"""(?:la\s+)?(?:bonne\s+)?(?:réponse|reponse|solution|option)(?:\s+(?:finale|correcte|exacte))?
        (?:\s+(?:est|serait)\b\s*[:]?\s*|{_COLON})""",
    "es": rf"""(?:la\s+)?(?:respuesta|opción|opcion|solución|alternativa)(?:\s+(?:final|correcta))?
        (?:\s+(?:es|sería)\b\s*[:]?\s*|{_COLON})""",
    "it": rf"(?:la\s+)?(?:risposta|opzione|soluzione)(?:\s+(?:finale|corretta|giusta))?(?:\s+è\b\s*[:]?\s*|{_COLON})",
    "pt": rf"(?:a\s+)?(?:resposta|opção|alternativa)(?:\s+(?:final|correta|certa))?(?:\s+é\b\s*[:]?\s*|{_COLON})",
    "nl": rf"(?:het\s+)?(?:(?:juiste|goede)\s+)?antwoord(?:\s+is\b\s*[:]?\s*|{_COLON})",
    "pl": rf"(?:(?:prawidłowa|poprawna)\s+)?odpowiedź(?:\s+to\b\s*|{_COLON})",
    "tr": rf"(?:doğru\s+)?cevap{_COLON}",
    "vi": rf"đáp\s+án(?:\s+đúng)?(?:\s+là\s+|{_COLON})",
    "ru": rf"(?:(?:правильный|верный|окончательный)\s+)?(?:ответ|вариант)(?:\s*[—–-]\s*|\s+это\s+|{_COLON})",
    "zh": rf"(?:正确|正確|最终|最終|最后|最佳)?的?(?:答案|选项|選項)(?:应该|應該|应|應)?(?:[是为為选選]\s*:?\s*|{_COLON})",
    "ja": rf"(?:正しい|最終的な|最終)?(?:答え|答|回答|解答|正解)(?:は\s*[、,:]?\s*|{_COLON})",
    "ko": rf"(?:정답|답|답변)(?:[은는]\s*|{_COLON})",
    "ar": rf"(?:الإجابة|الاجابة|الجواب)(?:\s+(?:الصحيحة|النهائية|الصحيح|النهائي))?(?:\s+(?:هي|هو)\s*:?\s*|{_COLON})",
    "hi": rf"(?:सही\s+)?(?:उत्तर|जवाब|विकल्प)(?:\s+है\s*[:]?\s*|{_COLON}|\s+)",
}
_NO_LETTER_BEFORE = r"(?<![A-Za-zÀ-ɏЀ-ӿ\u0600-\u06ff\u0900-\u097f])"
STATED = re.compile(_NO_LETTER_BEFORE + "(?:" + "|".join(_STATED.values()) + ")", re.IGNORECASE | re.VERBOSE)

#: Makes a sentence of an answer.
IT_IS = re.compile(
    r"^(?:(?:it|this|that|there)(?:['’]s| is| are) |they are |(?:es|das) (?:ist|sind) |c['’]est |ce sont |(?:es|son) "
    r"|(?:это|是|它是)\s?)",
    re.IGNORECASE,
)

#: What may stand between that and a letter, or before a letter alone.
LEAD = re.compile(
    r"""(?:(?:so|thus|therefore|hence|clearly|also|daher|donc|entonces|por\s+lo\s+tanto|итак|значит)[,:]?\s+
    |i(?:['’]d|['’]ll|\s+would|\s+will)?\s+(?:choose|pick|select|say|think|believe|go\s+with)\s+(?:that\s+)?
    |(?:it|this|that)(?:\s+is|['’]s|\s+must\s+be|\s+has\s+to\s+be)\s+
    |(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:option|choice|letter|answer|alternative|statement)\s*[:]?\s+
    |(?:ich\s+(?:denke|glaube|wähle|nehme)[,]?\s+|(?:es|das)\s+ist\s+|(?:die\s+)?(?:antwort|option|möglichkeit|buchstabe)\s*[:]?\s+)
    |(?:je\s+(?:pense|crois|choisis)\s+(?:que\s+)?|c['’]est\s+|(?:la|l['’])\s*(?:réponse|option|lettre)\s+|(?:option|réponse|lettre)\s+|la\s+)
    |(?:creo\s+que\s+|elijo\s+|es\s+|(?:la\s+)?(?:opción|letra|respuesta)\s+)
    |(?:è\s+|é\s+|(?:la\s+|a\s+)?(?:opzione|lettera|letra|opção|alternativa|risposta|resposta)\s+)
    |(?:это\s+|я\s+выбираю\s+|выбираю\s+|думаю,?\s+(?:что\s+)?|(?:вариант|буква|ответ|пункт)\s+)
    |(?:所以|因此|综上所述|综上|故)[,、]?\s*|(?:我|应该|應該|应|故)?(?:选择|選擇|选|選(?!択))(?:项|項)?\s*:?\s*|(?:我认为|我覺得|是)\s*
    |(?:選択肢|選択枝|番号|記号)(?:は|の)?\s*:?\s*|(?:선택지|보기)\s*
    |(?:الخيار|الحرف|اختيار|البديل|هو|هي|أختار)\s+(?:الصحيح\s+(?:هو\s+)?)?|(?:विकल्प|यह|उत्तर)\s*[:]?\s+)""",
    re.IGNORECASE | re.VERBOSE,
)

#: Says of what stands before it that it is right.
RIGHT = re.compile(
    r"""\s*(?:(?:is|would\s+be|must\s+be)\s+(?:(?:the|a)\s+)?(?:(?:only|most|best|correct|right|true|accurate|one|answer|option|choice)\b\s*)+
    |ist\s+(?:(?:die|das)\s+)?(?:richtige?|korrekte?|richtig|korrekt)(?:\s+(?:antwort|lösung|option))?\b|stimmt\b
    |est\s+(?:(?:la|le)\s+)?(?:bonne|correcte?|exacte?|juste|vraie?)(?:\s+(?:réponse|option))?\b
    |es\s+(?:la\s+)?(?:(?:respuesta|opción)\s+)?(?:correct[ao]|verdader[ao])\b
    |è\s+(?:la\s+)?(?:(?:risposta|opzione)\s+)?(?:corrett[ao]|giust[ao])\b|(?:é|está)\s+(?:a\s+)?(?:(?:resposta|alternativa)\s+)?(?:corret[ao]|cert[ao])\b
    |(?:—|-|это)?\s*(?:правильный(?:\s+(?:ответ|вариант))?|верный(?:\s+(?:ответ|вариант))?|верно|правильно)(?!\w)
    |(?:选项|選項|项|項)?(?:是)?(?:正确|正確|对|對)(?:的)?(?:答案|选项)?(?:的)?|(?:选项|選項|项|項)(?![\w])
    |が(?:正しい|正解|答え)(?:です|である|だ)?|で(?:す|ある)(?!か)|だ(?!と)|(?:입니다|이다|예요|이에요|번)
    |(?:هي|هو)?\s*(?:الإجابة\s+|الجواب\s+)?(?:الصحيحة|الصحيح|صحيحة|صحيح)(?!\w)
    |(?:ही\s+)?(?:सही\s+(?:(?:उत्तर|विकल्प|जवाब)\s+)?)?है(?![\w\u0900-\u097f])(?!\s+या))""",
    re.IGNORECASE | re.VERBOSE,
)

#: Begins a reason; what follows is no part of the answer.
REASON = re.compile(
    r"""(?<![A-Za-zÀ-ɏ])(?:because|since|due\s+to|given\s+that|as\s+(?:the|it|this|that|they|there|we)
    |weil|denn|da\s+(?:der|die|das|es|sie|er|dies|man)|(?:parce\s+qu|puisqu)(?:e|(?=['’]))|car\s+(?:il|elle|le|la|les|l['’]|c['’]|on|ce|cela|un|une)
    |porque|ya\s+que|perché|poiché|omdat|ponieważ)(?![A-Za-zÀ-ɏ])|(?<![Ѐ-ӿ])(?:потому|так\s+как|поскольку)(?![Ѐ-ӿ])
    |因为|因為|由于|由於|理由|原因|なぜなら|왜냐하면|لأن|क्योंकि""",
    re.IGNORECASE | re.VERBOSE,
)

#: Doubt: a text that has it before its reason gives no answer.
HEDGE = re.compile(
    r"""(?<![A-Za-zÀ-ɏ])(?:(?:not|n['’]t)\s+(?:\w+\s+)?(?:sure|certain)|unsure|uncertain|(?:do|can|could)\s*(?:n['’]t|not)\s+(?:\w+\s+)?(?:know|tell|say|determine|see|be\s+determined|decide)
    |(?:unable|impossible|difficult|hard)\s+to\s+(?:\w+\s+)?(?:tell|say|determine|know|answer|see|read)|no\s+idea|maybe|perhaps|possibly|might|could\s+be|may\s+be
    |either|unclear|not\s+clear|insufficient|not\s+enough|undetermined|indeterminate|one\s+of\s+(?:these|them|those)
    |nicht\s+(?:\w+\s+)?(?:sicher|klar|erkennbar|bestimmbar)|unsicher|weiß\s+(?:\w+\s+)?nicht|keine\s+ahnung|vielleicht|möglicherweise|könnte|entweder|unklar
    |pas\s+(?:\w+\s+)?(?:sûre?|certaine?|clair)|sais\s+pas|peut[\s-]être|pourrait|soit|aucune\s+idée|incertaine?
    |no\s+(?:estoy\s+)?(?:segur[oa]|sé|se\s+sabe|lo\s+sé)|quizás?|tal\s+vez|podría|puede\s+(?:que|ser)|a\s+lo\s+mejor|ni\s+idea
    |non\s+(?:lo\s+)?(?:so|sono\s+sicur[oa])|forse|potrebbe|não\s+(?:sei|tenho\s+certeza)|talvez|nie\s+wiem|może|misschien|weet\s+niet)(?![A-Za-zÀ-ɏ])
    |(?<![Ѐ-ӿ])(?:не\s+(?:уверен|знаю|ясно|могу)|неясно|возможно|может\s+быть|может|наверно|либо|затрудняюсь)
    |不确定|不確定|不知道|不清楚|无法|無法|也许|也許|或许|或許|可能|大概|说不准
    |分か(?:りません|らない)|わか(?:りません|らない)|かもしれ|不明|おそらく|たぶん|でしょうか|모르|확실하지|아마
    |لست\s+متأكد|غير\s+متأكد|لا\s+أعرف|لا\s+أدري|لا\s+أعلم|ربما|قد\s+يكون|पता\s+नहीं|शायद|नहीं\s+पता|निश्चित\s+नहीं|हो\s+सकता""",
    re.IGNORECASE | re.VERBOSE,
)

#: Joins two answers of which neither is meant alone.
JOIN = re.compile(
    r"""\s*(?:[,;/&+|、،؛~–—-]\s*(?:(?:and|or|und|oder|et|ou|y|o|e)\s+)?|(?:and/or|and|or|nor|to|through|und|oder|bis|et|ou|à|y|o|u|e|и|или|либо|vs\.?)\s+
    |(?:或者?|和|与|與|及|还是|と|か|や|または|あるいは|와|과|또는)\s*|(?:أو|أم|و)\s*|(?:या|और|अथवा)\s+|\s*)""",
    re.IGNORECASE | re.VERBOSE,
)

#: Denies what follows.
NOT = re.compile(
    r"""(?:(?:it\s+is\s+|it['’]s\s+)?(?:definitely\s+|certainly\s+|clearly\s+)?(?:not|isn['’]t|neither|nicht|kein(?:e|er)?|pas|non|nie|niet|не|no\s+es|no|not\s+option|ليست|ليس|لا)\s+
    |(?:不是|并非|不)\s*)(?:option\s+|answer\s+)?""",
    re.IGNORECASE | re.VERBOSE,
)
#: Denies what precedes.
WRONG = re.compile(
    r"""\W*(?:(?:is|are|was)\s+)?(?:(?:not|no|nope|wrong|incorrect|false|untrue|nein|falsch|nicht|faux|fausse|non|falso|falsa|incorrect[ao]|sbagliat[ao]|неверно|неправильно|нет|не)(?!\w)
    |isn['’]t|错|錯|不对|不對|不正确|不是|間違|ではな|じゃな|틀|아니|خطأ|خاطئ|ليس|गलत|नहीं)""",
    re.IGNORECASE | re.VERBOSE,
)
#: Puts another in place of what was denied.
BUT = re.compile(
    r"\W*(?:but(?:\s+rather)?|rather|sondern|mais|sino|ma|bensì|mas|а|но|而是|بل|बल्कि)\s+|\W*而是\s*", re.IGNORECASE
)


def after(pattern: re.Pattern[str], text: str, start: int = 0) -> int:
    """Where the text goes on behind what a pattern takes at `start`, as often as it does."""
    while (match := pattern.match(text, start)) and match.end() > start:
        start = match.end()
    return start


def hedges(text: str) -> bool:
    """Whether a text is in doubt about what it says; doubt inside a reason is not."""
    reason = REASON.search(text)
    return HEDGE.search(text, 0, reason.start() if reason else len(text)) is not None
