"""Reading a batch word by word."""

from __future__ import annotations

from lab.sql import statements as st
from lab.sql.errors import SqlError, syntax
from lab.sql.lexer import Token, tokens


class Words:
    """A place in the words of a batch; what is not as expected is error 102."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, tokens(text), 0

    # Words -----------------------------------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        where = self.at + ahead
        return self.tokens[where] if 0 <= where < len(self.tokens) else Token("end", "", len(self.text), len(self.text))

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, *words: str) -> bool:
        if all(self.peek(i).upper == word for i, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.accept(word):
                raise self.wrong()

    def wrong(self) -> SqlError:
        return syntax(self.peek().text or (self.tokens[-1].text if self.tokens else ""))

    def name(self) -> str:
        if self.peek().kind not in ("word", "quoted"):
            raise self.wrong()
        return self.next().value

    def value(self) -> st.Value:
        token = self.peek()
        if token.kind not in ("string", "number", "variable"):
            raise self.wrong()
        self.at += 1
        if token.kind == "string":
            return token.value
        return int(float(token.text)) if token.kind == "number" else st.Variable(token.text[1:].lower())

    def number(self) -> int:
        sign = -1 if self.accept("-") else 1
        found = self.value()
        if not isinstance(found, int):
            raise self.wrong()
        return sign * found

    def database(self) -> st.Value:
        token = self.peek()
        return self.value() if token.kind == "variable" else self.name()
