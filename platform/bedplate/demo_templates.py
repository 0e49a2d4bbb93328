"""What stands around the phrases of the sample data: values, small talk and frames, as data for `demo_text.py`.

Notation:
    (a / b / c)    ways to say the same; one of them is kept for the holdout side, which uses no other
    [a|b|c]        one of these, on either side; an empty part is allowed
    <live/past>    left where the sentence is what the message is about, right where it is told as something settled
    {word}         a value from VALUES, or any {order} or {amount}; no value comes twice in a message
Frames know four more: {L} the problem the customer has, {S} one that is settled or never was, {P} the same told in the
past, and {F} a thing that is fine.
"""

from __future__ import annotations

__all__ = [
    "CHATTER",
    "CLOSINGS",
    "CONTRAST_FRAMES",
    "GREETINGS",
    "SETTLED_FRAMES",
    "VALUES",
]


VALUES: dict[str, tuple[str, ...]] = {
    "thing": (
        "kettle", "lamp", "backpack", "rain jacket", "toaster", "phone case", "desk fan", "watch", "blender", "scarf",
        "keyboard", "pan", "tent", "board game", "pair of boots", "coffee grinder", "router", "headset", "mirror",
    ),
    "date": (
        "March 3", "May 12", "the 4th", "Monday", "Jan 30", "June 21", "Nov 9", "the 17th", "2 October", "Tuesday",
        "08/14", "Sunday night",
    ),
    "city": ("Leeds", "Austin", "Porto", "Denver", "Cork", "Graz", "Tampa", "Lyon", "Malmo", "Boston"),
    "name": (
        "Maria", "J. Okafor", "Tom", "Priya", "Lena Fischer", "Ahmed", "Sofia R.", "Dan", "Mrs. Whitlock", "Kenji",
        "Olu", "Carla Mendes",
    ),
    "relative": ("son", "daughter", "husband", "wife", "roommate"),
    "colleague": ("colleague", "chatbot", "agent", "phone line"),
    "lately": ("last week", "last month", "a while ago", "on {date}", "in spring"),
    "solved": ("solved", "settled", "fixed", "sorted out", "done"),
}  # fmt: skip

GREETINGS: tuple[str, ...] = (
    "hi", "hello", "hey", "hi there", "good morning", "dear team", "hello support", "good evening", "hi all",
)  # fmt: skip

CHATTER: tuple[str, ...] = (
    "customer since [2016|2019|2021]",
    "sorry to bother you again",
    "nobody answers the phone",
    "writing from {city}",
    "I love your shop",
)

CLOSINGS: tuple[str, ...] = (
    "thanks", "please help", "thanks, {name}", "can you check?", "regards {name}", "pls reply soon", "what now?",
    "{name}, {city}", "thx", "this is urgent",
)  # fmt: skip

# Which of the two is open has to be read from the frame: the same clauses stand in either place.
SETTLED_FRAMES: tuple[str, ...] = (
    "{lately} {P}, that is {solved}. now {L}",
    "{L}. {lately} {P}, that is {solved}",
    "{lately} {P} and you put that right. [today|this time] {L}",
    "{L}. {lately} {P} and you put that right",
    "{lately} I wrote that {S}, that is {solved}. now {L}",
    "{L}. {lately} I wrote that {S}, that is {solved}",
    "first I wrote that {S}, [you sorted that out|which you solved]. and now {L}",
    "your {colleague} [understood|wrote] that {S}. [that is wrong|not true]: {L}",
    "{L}. your {colleague} [understood|wrote] that {S}, [that is wrong|not true]",
    "the ticket says that {S}, which is [wrong|not true]. in fact {L}",
    "{L}. the ticket says that {S}, which is [wrong|not true]",
    "[ignore|forget] my message that {S}. [the real problem:|in fact] {L}",
    "{L}. [ignore|forget] my message that {S}",
    "you answered as if {S}, [but no|wrong]. {L}",
    "{L}, and you answered as if {S}",
    'my [brother|neighbor] wrote "{S}", not me. my problem: {L}',
    '{L}. it was my [brother|neighbor] who wrote "{S}", not me',
    "it is not that {S}. it is that {L}",
    "{L}. it is not that {S}",
    "I never said that {S}. I said that {L}",
    "I said that {L}. I never said that {S}",
)

CONTRAST_FRAMES: tuple[str, ...] = (
    "{F}, but {L}",
    "{L}, but {F}",
    "{F}. [the problem is that|the trouble is,] {L}",
    "{L}. {F}, [so that is not the issue|no worries about that]",
    "{F}, that part is [fine|ok]. {L}",
    "{L}. {F}, that part is [fine|ok]",
    "although {F}, {L}",
    "{L} even though {F}",
    "{F}, [thanks for that|good]. still, {L}",
    "{L}. apart from that, {F}",
    "[just so you know|to be clear], {F}. {L}",
    "{L}. [just so you know|to be clear], {F}",
)
