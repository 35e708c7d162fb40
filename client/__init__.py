"""The parties' own machines: SDK and command line of owner, provider, user and witness (side: owner).

Role:  everything that a party trusts happens here: keys are made, data is sealed, quotes are verified, answers opened.
Reads: the party's identity directory (`context`), public documents of the services.
Holds: identity, data keys and bundle keys of one party, in files of mode 0600 under its identity directory.
Sends: ciphertext, signed documents, keys wrapped to a key broker whose quote was verified on this machine.

Every operation is a generator of typed events (`events`); its last event is the result. The command line (`cli`) only
renders them, with rich or as JSON lines.
"""
