"""The clauses of the contract: what is promised, why, and how the suite judges it."""

from twinloop.errors import ArgumentError
from twinloop.instruments.conformance.interface import Clause

__all__ = ["CLAUSES", "GROUPS", "chosen"]

GROUPS = {
    "S": "What the class says of itself",
    "C": "Connections",
    "L": "Limits, at the moment of execution",
    "I": "Interlocks",
    "K": "Keys, leases and samples",
    "P": "Results and streams",
    "A": "Abort",
    "D": "The lease holder dies",
    "R": "The adapter dies",
    "F": "The safe state",
    "E": "Emergency stop",
    "T": "Telemetry",
    "B": "The device by itself",
    "W": "Restart and spool",
}

_CLASS = frozenset({"class"})
_INSPECT = frozenset({"class", "inspector"})
_LOOK = frozenset({"served"})
_ACT = frozenset({"served", "actions"})
_OWN = frozenset({"served", "actions", "own"})

CLAUSES: dict[str, Clause] = {
    clause.id: clause
    for clause in (
        Clause(
            "S1", "The description is JSON and has the same digest in every process.",
            "A campaign compares digests to see that limits have changed; a description that differs "
            "from start to start raises that alarm for ever.",
            "`describe()` goes through JSON and back; its digest is compared with that of another "
            "process, started with another hash seed.",
        ),
        Clause(
            "S2", "Each number that an action takes has a unit in its type, and nothing is untyped.",
            "A number without a unit is one day given in another unit, and the adapter cannot notice.",
            "The types of the arguments are read: a bare `float` or `Any` breaks the clause; "
            "`Dimensionless` is a unit.",
        ),
        Clause(
            "S3", "Each quantity has a limit, finite and not empty, and its default lies inside.",
            "What has no limit reaches the device whatever it is.",
            "The types of the arguments are read.",
        ),
        Clause(
            "S4", "Each action and each readout says what it does in its first line.",
            "Lists of instruments, reports and the person who clears a trip show that line.",
            "The docstrings are read.",
        ),
        Clause(
            "S5", "Recovery and interlocks fit together: what is reconcilable can be asked, and what "
            "must be true is a boolean readout.",
            "An action that cannot be asked about ends in UNKNOWN, and a person has to come.",
            "The declarations are read; reconcilable needs `@ACTION.reconcile`, an interlock needs a "
            "readout of type `bool`.",
        ),
        Clause(
            "S6", "Each action says what it returns, in types that can travel, each number with its "
            "unit in type or name.",
            "A record without units cannot be compared with that of another instrument.",
            "The return types are read, and the fields of their records.",
        ),
        Clause(
            "S7", "`connect`, `disconnect`, `safe_state` and `is_busy` are plain functions without "
            "arguments.",
            "The watchdog calls them in a process without an event loop, when all else has failed.",
            "The signatures are read.",
        ),
        Clause(
            "C1", "Making an object of the class touches nothing.",
            "Programs make objects to look at them; a device must not move for that, nor its port be "
            "taken.",
            "The object is made in a process of its own that notes sockets, child processes and files "
            "opened for writing.", _INSPECT,
        ),
        Clause(
            "C2", "`connect` and `disconnect` may be called twice, and a new `connect` works.",
            "The watchdog reconnects where a connection died with the adapter.",
            "connect, connect, read, disconnect, disconnect, connect, read, in a process of its own.",
            _INSPECT,
        ),
        Clause(
            "C3", "Two processes are connected at the same time.",
            "The watchdog has a connection of its own: a device that takes one client at a time is "
            "never made safe when the adapter dies.",
            "The adapter process is started: it is ready when it and its watchdog are connected.",
            _OWN,
        ),
        Clause(
            "L1", "A value below or above its limit is FAILED, and the device is not touched.",
            "A planner, a typing error or a wrong unit asks for it one day.",
            "Each quantity in turn is sent just outside and far outside its limit; what reached the "
            "author's code is counted.", _ACT,
        ),
        Clause(
            "L2", "NaN, infinities and numbers beyond any scale are refused.",
            "NaN passes every comparison the wrong way.",
            "Each is sent for each quantity. The wire carries no NaN: a command that the hub does not "
            "deliver counts as refused.", _ACT,
        ),
        Clause(
            "L3", "A value of the wrong type is FAILED, and the device is not touched.",
            '"5" and true are numbers to some drivers.',
            "Text, booleans, null, a list and an object are sent where the type takes none.", _ACT,
        ),
        Clause(
            "L4", "A missing or unknown argument, and an unknown action, are FAILED.",
            "Two versions of a program do not agree one day.",
            "Each is sent once.", _ACT,
        ),
        Clause(
            "L5", "A quantity with a rate limit moves no faster than that.",
            "A furnace tube or a crucible cracks.",
            "While the action runs, the readout that the rehearsal names under `follows` is read; its "
            "fastest change over 0.2 s or more is compared with the limit, with 20 % for the readings.",
            _ACT,
        ),
        Clause(
            "I1", "While an interlock is open, its action is FAILED and the device is not touched.",
            "The interlock is looked at when it matters, not when the campaign was planned.",
            "The readout is made to say `false` in the adapter process, and the action is sent.", _OWN,
        ),
        Clause(
            "I2", "An interlock readout says what the device says.",
            "A contact that is always closed protects nobody.",
            "The rehearsal's fault opens the interlock on the device: the readout must become false "
            "and the action be refused.", _OWN,
        ),
        Clause(
            "K1", "One key is one physical effect: a repeated command is answered, never executed.",
            "A network repeats, and a film is grown twice.",
            "Each action is done, and its command sent three times more; what the device did, and "
            "what reached the author's code, is counted.", _ACT,
        ),
        Clause(
            "K2", "A command under an epoch that is over is refused.",
            "Somebody who was silent for an hour believes to be in charge.",
            "A command is sent under the epoch before the present one.", _ACT,
        ),
        Clause(
            "K3", "A command under another ledger is UNKNOWN, never new.",
            "After a disk was replaced, nobody knows what was done.",
            "A command is sent that names another ledger.", _ACT,
        ),
        Clause(
            "K4", "A command for a sample that is not there is refused, and touches nothing.",
            "The wrong film is heated.",
            "Each action that does not load is sent for another sample.", _ACT,
        ),
        Clause(
            "P1", "A result is of the annotated type.",
            "A protocol reads a field that is not there, after the growth.",
            "What each action returned is compared with its annotation, in the adapter process.", _OWN,
        ),
        Clause(
            "P2", "An action with harmless arguments is DONE, in its time, with finite numbers; its "
            "arrays reach the depot.",
            "An instrument that cannot do its examples cannot do a campaign.",
            "Each action is done once; the outcome comes within `longest_s`.", _ACT,
        ),
        Clause(
            "P3", "Numbers on a stream are finite, arrays numeric.",
            "A live view stops at the first NaN.",
            "Every element that the action emits is looked at, in the adapter process.", _OWN,
        ),
        Clause(
            "A1", "An aborted action ends within its stated time.",
            "Somebody sees smoke.",
            "The action is begun with lasting arguments and aborted in the middle; an outcome must "
            "come within `abort_s` of the rehearsal.", _ACT,
        ),
        Clause(
            "A2", "The outcome of an abort says what happened: PARTIAL with JSON numbers, DONE, or "
            "FAILED where nothing did; UNKNOWN only where the action is unsafe.",
            "What was deposited until then decides what becomes of the sample.",
            "State and result of the outcome are compared with the recovery class, and with the "
            "device's own record where there is one.", _ACT,
        ),
        Clause(
            "A3", "After an abort nothing goes on at the device, and the next command is taken.",
            "A heater that nobody watches any more.",
            "`is_busy` is asked over a connection of its own, and another command is sent.", _OWN,
        ),
        Clause(
            "D1", "`finish`: the action goes on to its end when the holder dies, and its outcome waits.",
            "A growth is not worth less because a program crashed.",
            "A client process takes the lease, begins the action and is killed; after the silence the "
            "action has not been cancelled, and the next holder is told DONE.", _OWN,
        ),
        Clause(
            "D2", "`hold`: when the holder dies nothing new starts and nothing is changed.",
            "The state that an action left is worth keeping until somebody looks.",
            "As D1; no safe state runs, and the action is not cancelled.", _OWN,
        ),
        Clause(
            "D3", "`safe_state`: when the holder dies during the action, it is cancelled and the "
            "instrument made safe within the silence and one second.",
            "An open shutter, a hot filament, an open beam.",
            "As D1; the safe state is seen in the adapter's record, in time.", _OWN,
        ),
        Clause(
            "D4", "`safe_state` also governs what the action leaves behind.",
            "A heater that was set and forgotten.",
            "The action is done, then its holder is killed: the safe state is seen, in time.", _OWN,
        ),
        Clause(
            "D5", "A silence is held, not latched: the next holder goes on.",
            "A campaign that was started again must not wait for a person.",
            "After each death the next lease shows no trip, and a command under it is answered.", _OWN,
        ),
        Clause(
            "R1", "Killed before the device was touched: the instrument says that it never began.",
            "A campaign that is told DONE goes on with a sample that does not exist.",
            "The adapter process is killed after INTENT is on the disk and before the author's code; "
            "after a restart the outcome is FAILED, and may be tried again.", _OWN,
        ),
        Clause(
            "R2", "Killed after the action returned: the instrument says DONE, with the same result.",
            "Otherwise what is done is done again.",
            "The adapter process is killed between the end of the author's code and the ledger; "
            "numbers of the reconciled result are compared with those that were returned.", _OWN,
        ),
        Clause(
            "R3", "Killed in the middle: what the instrument says is what happened.",
            "This is the case that a sample does not survive when the adapter guesses.",
            "The adapter process is killed while the action runs, and started again; the outcome is "
            "compared with the device's own record (`effects`), and with itself.", _OWN,
        ),
        Clause(
            "R4", "An idempotent action is repeated after a death, and then comes to its end.",
            "It is declared that a repetition does no harm, so nobody should have to come.",
            "As R3; the record must show the second start, and the outcome be DONE.", _OWN,
        ),
        Clause(
            "R5", "An action that is not idempotent is never started twice.",
            "A second pulse, a second growth.",
            "As R1 to R3; starts are counted in the record, and in the device's own.", _OWN,
        ),
        Clause(
            "R6", "A device that breaks in the middle is never told as FAILED.",
            "FAILED means that nothing happened: the campaign tries again on the same sample.",
            "The rehearsal's fault under `breaks` stands while the action runs.", _OWN,
        ),
        Clause(
            "F1", "`safe_state` may be run again and again, and returns within 5 s.",
            "Adapter, watchdog and a person run it, in no order.",
            "It is run twice over a connection of its own, also in the safe state.", _INSPECT,
        ),
        Clause(
            "F2", "`safe_state` works from two processes at the same time.",
            "That is how adapter and watchdog meet.",
            "An emergency stop runs it in the adapter while another process runs it over its own "
            "connection.", _OWN,
        ),
        Clause(
            "F3", "After `safe_state` each readout is safe.",
            "A safe state that does nothing returns at once.",
            "An action is done, the safe state run; the readouts that the rehearsal names under "
            "`safe` are compared.", _OWN,
        ),
        Clause(
            "F4", "`safe_state` neither loads nor loses a sample.",
            "Nobody knows afterwards what is in the chamber.",
            "The sample in the ledger is the same before and after, and a command for it is taken.",
            _OWN,
        ),
        Clause(
            "F5", "The watchdog makes safe what a dead adapter left, where that is declared.",
            "The process that would have switched off is the one that died.",
            "The adapter is killed in an action, or after one, whose silence is `safe_state`; the safe "
            "state is seen in another process within 5 s and noted.", _OWN,
        ),
        Clause(
            "E1", "An emergency stop cancels, makes safe within 5 s, and trips.",
            "It is the last thing a person can do from afar.",
            "It is sent in the middle of an action, or while nothing runs where none lasts.", _ACT,
        ),
        Clause(
            "E2", "A trip refuses every action until a person clears it.",
            "What tripped once trips again.",
            "A command during the trip is FAILED; a clear by the lease holder changes nothing; one by "
            "a person, with a reason, does.", _ACT,
        ),
        Clause(
            "T1", "Each readout answers within 2 s.",
            "Limits of readouts are watched several times a second.",
            "Each is asked through the hub.", _LOOK,
        ),
        Clause(
            "T2", "Each readout has a unit in its type, or is a boolean, a text or a whole number.",
            "A number without a unit cannot be watched.",
            "The types are read, and the value is compared.", _LOOK,
        ),
        Clause(
            "T3", "Each readout is finite and inside its own limit.",
            "Outside its limit it trips the instrument.",
            "Each is asked through the hub, at rest.", _LOOK,
        ),
        Clause(
            "T4", "Readouts do not disturb an action.",
            "A driver that mixes two answers up reads a temperature for a result.",
            "All are asked again and again while each action runs; it must be DONE and they must "
            "answer.", _ACT,
        ),
        Clause(
            "T5", "Nothing blocks the event loop for longer than 0.5 s between two awaits.",
            "While it is blocked no abort arrives and no limit is watched.",
            "Every step of actions and readouts is timed in the adapter process. It counts when it computed "
            "for longer than that, or waited without an await, and twice, so that a busy computer is "
            "not blamed.", _OWN,
        ),
        Clause(
            "T6", "A readout changes nothing.",
            "Telemetry asks once a second, for weeks.",
            "All are asked many times: the device's own record stays as it is.", _OWN,
        ),
        Clause(
            "B1", "`is_busy` is false at rest, and not false while the device is at it.",
            "The watchdog of a dead adapter ends what is not busy, and waits for what is.",
            "It is asked over a connection of its own, at rest and in the middle of each lasting "
            "action that the device goes on with by itself.", _OWN,
        ),
        Clause(
            "W1", "A restart keeps the ledger, raises the epoch, and shows the same schema.",
            "Everything that is at most once stands on that.",
            "The adapter is killed and started on the same folder.", _OWN,
        ),
        Clause(
            "W2", "An outcome that was not acknowledged is told again after a restart, the same.",
            "A result that nobody heard is not lost.",
            "An action is done, not acknowledged, the adapter killed and started again.", _OWN,
        ),
        Clause(
            "W3", "A full spool refuses an action before it starts.",
            "A measurement whose result has no room is a sample lost.",
            "The adapter is served with a spool that has no room, and each action is sent.", _OWN,
        ),
    )
}  # fmt: skip


def chosen(only: tuple[str, ...]) -> frozenset[str]:
    """Return the ids that clauses and groups name; all when nothing is named.

    Raises:
        ArgumentError: a clause that does not exist.

    Example:
        >>> sorted(chosen(("I", "A1")))
        ['A1', 'I1', 'I2']
    """
    found: set[str] = set()
    for word in only:
        named = {i for i in CLAUSES if word in (i, i[0])}
        if not named:
            raise ArgumentError("--only", word, f"a clause or a group: {', '.join(CLAUSES)}")
        found |= named
    return frozenset(found or CLAUSES)
