"""`./emo bench`: live graphs watched from outside, and the report of all that was measured."""
