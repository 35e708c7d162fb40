"""A provider bundle that misbehaves on request (side: sandbox). Tests pack the files of this folder."""
