"""Data contracts: what a batch of pages must fulfil before a model may learn from it.

`facts` looks at pages and writes down what it sees, `suites` says what must hold, `expectations` holds the
one against the other (it alone touches Great Expectations, and lazily), `verdict` draws conclusions.
"""
