"""How a round becomes wide: what can run before the results that are missing.

scouts       forks of the plan that go on with stand-ins for results
placeholder  those stand-ins
guesses      which guesses a run can afford
forecast     what an evaluation will probably come to
concurrency  what an optimizer does at the same time by itself
"""
