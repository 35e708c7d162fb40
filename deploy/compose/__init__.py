"""What docker-compose.yml needs beside images: files made once for an installation (side: host).

`cloister compose prepare` (`preparation`) writes secrets and settings on the operator's machine; `installation` runs in
a container at each `up` and makes what has to be measured there. docs/deploy-compose.md says how they fit together.
"""
