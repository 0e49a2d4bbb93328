"""What the customers of the sample data write about: the phrases of each intent, as data for `demo_data.py`.

An intent is what the customer wants handled *now*. The ten intents are five pairs that share their words and differ in
who did what, in what came first, or in where the "not" stands, so that word counts alone do not separate them.
`demo_templates.py` explains the notation; every phrase has one (a / b / c) whose options are dealt out between the
training and the holdout side.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INTENTS", "Intent"]


@dataclass(frozen=True)
class Intent:
    """One thing customers write about, and the ways they put it."""

    name: str
    weight: int  # how often it comes, relative to the others
    clauses: tuple[str, ...]  # full statements; they can stand inside a longer sentence
    asks: tuple[str, ...]  # short or direct; they stand alone
    fine: tuple[str, ...]  # statements that this is *not* the problem
    clashes: str = ""  # the intent that cannot be said to be fine in the same message


# Neighbors are the pairs: the generator takes the opposite of an intent from the place beside it.
INTENTS: tuple[Intent, ...] = (
    Intent(
        name="cancel_order",
        weight=13,
        clauses=(
            "I <want/wanted> (to cancel {order} / {order} canceled / you to cancel {order} / to call off {order})",
            "I (ordered the wrong {thing} / picked the wrong size / ordered by mistake / ordered twice by accident)"
            " and {order} <should/had to> be [canceled|stopped]",
            "my {relative} ordered a {thing} (without asking me / behind my back / without telling me / though I "
            "said no) and I <do/did> not want it sent",
            "the {thing} <is/was> (too late for me / cheaper elsewhere / no longer needed / not for me after all), "
            "so I <want/wanted> {order} [canceled|stopped]",
            "I <am/was> trying to cancel {order} and (your site <will/would> not let me / the button <does/did> "
            "nothing / it <does/did> not work / I <get/got> an error)",
            "{order} (has not shipped yet / <is/was> still open / has not left the warehouse / <is/was> still being"
            " packed) and I <would like/wanted> to [stop|cancel] it",
            "I <do/did> not want {order} any more (because I changed my mind / because my plans changed / because I"
            " will be away / because money is tight)",
            "you <can/could> cancel {order}, (I <do/did> not need the {thing} / I found a {thing} in a store / "
            "somebody gave me a {thing} / the {thing} <is/was> a bad idea)",
        ),
        asks=(
            "(cancel my order / please cancel {order} / cancel what I ordered on {date} / order to be canceled) "
            "[pls|please|]",
            "(how do I / how can I / where do I / can I still) cancel {order}?",
            "(please do not send / no need to send / you need not send / do not ship) the {thing}, I changed my mind",
            "(stop / halt / call off / withdraw) {order} before it ships please",
        ),
        fine=(
            "I do not want to (cancel / stop / call off) {order}",
            "{order} can (go ahead / stay as it is / be sent as planned)",
            "I am (keeping / not canceling / happy to wait for) {order}",
        ),
    ),
    Intent(
        name="restore_order",
        weight=8,
        clauses=(
            "you canceled {order} (and I never asked for that / without asking me / though I did not want that / "
            "and it was not my wish)",
            "{order} was canceled (by your system / by your warehouse / by someone at your end / for no reason) and"
            " I still <want/wanted> it",
            "I (got an email / was told / just read / saw in the app) that {order} <is/was> canceled, and I did not"
            " cancel it",
            "I asked you to (change the address / take out one {thing} / add a {thing} / use another card) and you "
            "canceled {order} instead",
            "{order} <shows/showed> as canceled and I <want/wanted> it (back / to go ahead / sent after all / put "
            "right)",
            "I canceled {order} (by mistake / by accident / with a wrong click / without meaning to) and "
            "<want/wanted> it to go ahead",
            "my {relative} canceled {order} (without asking me / behind my back / without telling me / though I "
            "said no) and I <want/wanted> it back",
            "you stopped {order} before it shipped and I (did not ask you to / still <need/needed> the {thing} / "
            "never told you to / still <want/wanted> it)",
        ),
        asks=(
            "(why did you cancel / who canceled / why have you canceled / what made you cancel) {order}?",
            "please (put back / restore / reinstate / bring back) my canceled order",
            "(can you undo / please undo / how do I undo / I want to undo) the cancellation of {order}",
            "my order got canceled, (I still want it / it wasn't me / I didn't ask for that / please send it anyway)",
        ),
        fine=(
            "{order} was not (canceled / stopped / called off)",
            "you have put {order} back (after the cancellation / as I asked / and it is on its way)",
            "I canceled {order} (myself / on purpose / and that was right)",
        ),
    ),
    Intent(
        name="payment_without_order",
        weight=12,
        clauses=(
            "I was charged {amount} but the order (never went through / was never placed / did not go through / was"
            " not created)",
            "(the payment for the {thing} went through, the order did not / the {thing} <is/was> paid, but not "
            "ordered / the money for the {thing} went out, no order came in / the {thing} was paid and the order "
            "never made it)",
            "my card was [charged|debited] on {date} and I <have/had> no (order number / order confirmation / order"
            " / order in my account)",
            "you took {amount} (for an order that <does/did> not exist / and there <is/was> no order / without "
            "creating an order / and no order was made)",
            "(your page froze / the checkout crashed / the app closed / the screen went white) after I paid, and I "
            "<have/had> no order",
            "my bank <shows/showed> (a payment / a charge / {amount} paid / a debit) to you, your site "
            "<shows/showed> no order",
            "my payment was taken although the order (failed / was rejected / was not accepted / did not work)",
            "you <have/had> my money for the {thing} and <say/said> I never (ordered it / placed an order / ordered"
            " anything / made an order)",
        ),
        asks=(
            "(charged / paid {amount} / card debited / money taken) but no order",
            "you took my money, (where is the order number? / where is my order? / why is there no order? / what "
            "about the order?)",
            "why was I charged when my order (did not go through? / failed? / was not placed? / does not exist?)",
            "I paid for a {thing}, (no order, nothing / and there is no order / where did the order go? / but it "
            "says no orders)",
        ),
        fine=(
            "the order I paid for (on {date} is there / has its number / went through)",
            "payment and order (both went through / are both there / both worked) for the {thing}",
            "{order} did (go through / get placed / get confirmed) after I paid",
        ),
        clashes="order_without_payment",
    ),
    Intent(
        name="order_without_payment",
        weight=5,
        clauses=(
            "the order (went through / was placed / was accepted / was created) but I was never charged",
            "(the order for the {thing} went through, the payment did not / the {thing} <is/was> ordered, but not "
            "paid / the order for the {thing} came in, no money went out / the {thing} was ordered and the payment "
            "never made it)",
            "I <have/had> an (order number / order confirmation / order / order in my account) and my card was "
            "never [charged|debited]",
            "you sent {order} (without taking the {amount} / and never charged me / but took no money / and no "
            "payment was made)",
            "(your page froze / the checkout crashed / the app closed / the screen went white) before I paid, and I"
            " <have/had> an order all the same",
            "your site <shows/showed> {order}, my bank <shows/showed> no (payment / charge / money paid / debit) to"
            " you",
            "my order was taken although the payment (failed / was rejected / was not accepted / did not work)",
            "I <have/had> the {thing} and you never (took the money / charged my card / asked for the money / took "
            "a payment)",
        ),
        asks=(
            "order confirmed but (not charged / not paid / no payment taken / no money taken)",
            "(why was I never / why was my card not / when will I be / how come I was not) charged for {order}?",
            "how can I pay for {order}? (you never charged me / you took no money / it came unpaid / nothing was "
            "taken)",
            "got the {thing}, (never paid / you never took the money / was not charged / no charge on my card)",
        ),
        fine=(
            "{order} has been (paid / charged / paid for in full)",
            "the {amount} for {order} (has been taken as it should / is on my statement / went out)",
            "my payment for {order} (went through / was accepted / worked)",
        ),
        clashes="payment_without_order",
    ),
    Intent(
        name="refund_missing",
        weight=18,
        clauses=(
            "my refund (of {amount} / for {order} / for the {thing} / from {date}) <has/had> not arrived",
            "I sent the {thing} back and the money (<is/was> still not here / has not come back / never came / has "
            "not reached me)",
            "you confirmed the refund but (nothing was paid / I got nothing / no money came / my bank <has/had> "
            "nothing)",
            "I <am/was> still (waiting for / missing / without / owed) the {amount} for my return",
            "{order} was canceled and the money was (never returned / never paid back / not refunded / not sent back)",
            "(I was promised / you promised me / you owe me / I should get) {amount} back and I <have/had> seen "
            "none of it",
            "your system <says/said> refunded, my bank <says/said> (nothing came in / no money came / nothing "
            "arrived / there <is/was> nothing)",
            "you have not paid me back for the {thing} (that I returned / that you picked up / that I sent back / "
            "you got back on {date})",
        ),
        asks=(
            "(where is my refund? / where is my money back? / refund not here yet / still no refund)",
            "when do I (get my {amount} back? / get my money back? / see my refund? / get the refund for {order}?)",
            "no (refund / money back / sign of the refund / repayment) yet for {order}",
            "how long does a refund take? I returned the {thing} (on {date} / weeks ago / ages ago / and got nothing)",
        ),
        fine=(
            "my refund for {order} (has arrived / is here / came on {date})",
            "the money for the {thing} I returned (is back / has come / is in my account)",
            "I am not (waiting for / missing / owed) any refund",
        ),
        clashes="refund_wrong_amount",
    ),
    Intent(
        name="refund_wrong_amount",
        weight=9,
        clauses=(
            "the refund arrived but it <is/was> ({amount} too low / short by {amount} / {amount} instead of "
            "{amount2} / less than I paid)",
            "you refunded (only a part of {order} / just half of {order} / {order} without the shipping / {order} "
            "minus a fee)",
            "I got my money back for the {thing}, but (not all of it / {amount} too little / only half of it / less"
            " than it cost)",
            "you paid me back (more than the {thing} cost / twice for the {thing} / too much for the {thing} / "
            "{amount} too much)",
            "the money for my return came and the sum <is/was> (wrong / too small / off by {amount} / not what I paid)",
            "(I was promised / you promised me / you owe me / I should get) {amount} back and I got {amount2}",
            "your system <says/said> {amount} refunded, my bank <says/said> (only {amount2} / {amount2} came in / "
            "just half of that / a smaller sum)",
            "I sent back a {thing} and a {thing2} and got the money for (the {thing} only / just one / one of them "
            "/ only the {thing2})",
        ),
        asks=(
            "refund is (too low / not enough / too high / not the full price)",
            "(wrong refund amount / refund sum is wrong / refund does not add up / refund is off) for {order}",
            "why (did I only get / was I refunded only / did you pay back just / is my refund only) {amount} for "
            "the {thing}?",
            "refund received, (amount wrong / but too little / but not all of it / some of it is missing)",
        ),
        fine=(
            "the refund for {order} was (correct to the cent / the right amount / exactly what I paid)",
            "you refunded (the full {amount} / all of it / the whole price) for {order}",
            "the sum of my refund (matches / is right / adds up)",
        ),
        clashes="refund_missing",
    ),
    Intent(
        name="item_missing",
        weight=15,
        clauses=(
            "the {thing} I ordered was (not in the box / missing from the parcel / not packed / left out of the "
            "parcel)",
            "I ordered a {thing} and a {thing2} and (only the {thing2} came / the {thing2} came alone / I got just "
            "the {thing2} / the {thing} did not come)",
            "I ordered the {thing} twice and (got one / one came / found one in the box / received just one)",
            "{order} arrived (incomplete / half empty / with the {thing} missing / without the {thing})",
            "you (forgot / did not send / did not pack / left out) the {thing} that I ordered",
            "the packing slip <lists/listed> a {thing} that (was not in the parcel / I did not find in the box / "
            "did not come / was not there)",
            "there was no {thing} in the (box / parcel / package / delivery) and I did order one",
            "everything came except the {thing} (I paid for / I ordered / from {order} / I was waiting for)",
        ),
        asks=(
            "{thing} (missing from my parcel / not in the box / missing from my order / was not delivered with the "
            "rest)",
            "where is the {thing}? (the box had everything else / it was not in the parcel / only the rest came / "
            "you did not pack it)",
            "I ordered two, (one came / got one / only one in the box / just one was delivered)",
            "(box arrived half empty / part of {order} is not here / {order} is incomplete / half of my order is "
            "missing)",
        ),
        fine=(
            "everything I ordered was (in the box / there / in the parcel)",
            "nothing was (missing from / left out of / forgotten in) {order}",
            "I did get the {thing} (I ordered / from {order} / I paid for)",
        ),
    ),
    Intent(
        name="item_not_ordered",
        weight=10,
        clauses=(
            "there was a {thing} in the box that (I did not order / <is/was> not mine / I never asked for / "
            "<is/was> not on my order)",
            "you sent me a {thing} and (I did not order one / I never ordered it / I ordered none / it <is/was> not"
            " mine)",
            "I ordered one {thing} and (got two / two came / found two in the box / received two)",
            "{order} arrived with (an extra {thing} / a {thing} too many / a {thing} I never ordered / somebody "
            "else's {thing})",
            "you packed a {thing} (that belongs to somebody else / meant for another customer / from someone else's"
            " order / that I never ordered)",
            "the packing slip <does/did> not list the {thing} that (was in the parcel / I found in the box / came /"
            " was there)",
            "I never ordered a {thing} and (one came / there was one in the box / you sent me one / I got one)",
            "everything I ordered came, plus a {thing} (I did not order / I did not pay for / for somebody else / "
            "that <is/was> not mine)",
        ),
        asks=(
            "got a {thing} (I didn't order / that isn't mine / I never asked for / meant for someone else)",
            "why did you send me a {thing}? (not mine / I didn't order it / I never ordered one / wasn't on my order)",
            "I ordered one, (two came / got two / two in the box / two were delivered)",
            "what should I do with the {thing} (I never ordered? / that isn't mine? / you sent by mistake? / I "
            "didn't order?)",
        ),
        fine=(
            "there was nothing in the box that (I did not order / is not mine / should not be there)",
            "I did order the {thing} (you sent / that came / in {order})",
            "nothing extra (came with / was in / was packed with) {order}",
        ),
    ),
    Intent(
        name="close_account",
        weight=9,
        clauses=(
            "I <want/wanted> (to close my account / my account closed / you to close my account / to delete my "
            "account)",
            "I <do/did> not (shop here any more / buy from you any more / need an account any more / want to be a "
            "customer any more) and my account <should/had to> go",
            "I <have/had> two accounts and one <should/had to> be (closed / deleted / shut / removed)",
            "my [mother|father|aunt] died and the account <has/had> to be (closed / deleted / shut down / taken down)",
            "I opened an account (by mistake / by accident / with a wrong click / without meaning to) and "
            "<want/wanted> it deleted",
            "my account <is/was> still open and I <want/wanted> it (closed / gone / shut down / deleted)",
            "I <cannot/could not> find (where / how / the page / the button) to delete my account",
            "my {relative} opened an account for me (without asking me / behind my back / without telling me / "
            "though I said no) and I <want/wanted> it closed",
        ),
        asks=(
            "(close / delete / shut down / remove) my account [pls|please]",
            "(how do I / where do I / how can I / can I) delete my account?",
            "I want out, please (remove my profile / close the account / delete all my data / take my account down)",
            "I'd like to (leave / say goodbye / stop being a customer / be forgotten), please close the account",
        ),
        fine=(
            "I do not want to (close / delete / lose) my account",
            "I am (keeping my account / not leaving / staying a customer)",
            "you closed my old account (as I asked / and that was right / and thanks for that)",
        ),
    ),
    Intent(
        name="reopen_account",
        weight=6,
        clauses=(
            "you closed my account (and I never asked for that / without asking me / though I did not want that / "
            "and it was not my wish)",
            "my account was closed (by your system / by mistake / by someone at your end / for no reason) and I "
            "<want/wanted> it back",
            "I <cannot/could not> log in because you (closed / deleted / shut down / took down) my account",
            "I asked you to (stop the newsletter / change my email / remove a card / change the address) and you "
            "closed my account instead",
            "you <say/said> my account <is/was> (closed / deleted / gone / shut) and I still <use/used> it",
            "I closed my account (by mistake / by accident / with a wrong click / without meaning to) and "
            "<want/wanted> it back",
            "my {relative} closed my account (without asking me / behind my back / without telling me / though I "
            "said no) and I <need/needed> it again",
            "my account <is/was> gone and I (did not delete it / never closed it / <want/wanted> it back / "
            "<need/needed> it again)",
        ),
        asks=(
            "(why did you close / who closed / why have you deleted / what made you close) my account?",
            "(reopen / restore / bring back / open up) my closed account [pls|please]",
            "my account is gone, (it wasn't me / I didn't delete it / I still want it / please bring it back)",
            "how do I get my (deleted / closed / old / lost) account back?",
        ),
        fine=(
            "my account is (open and works / still open / not closed)",
            "nobody (closed / deleted / shut down) my account",
            "I can log in to my account (again / as always / without trouble)",
        ),
    ),
)
