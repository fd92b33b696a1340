"""Kerberos by MIT's own libraries: tickets in memory, and the security context that WinRM seals its messages with.

The libraries (Debian: ``libgssapi-krb5-2``, which brings ``libkrb5-3``) are called directly. Every Python package that
wraps them (gssapi, krb5, pykerberos) has to be compiled where it is installed, with a compiler and the headers of
Kerberos and Python, while the libraries themselves are on each worker already: Microsoft's ODBC driver needs them. And
these packages find tickets by ``KRB5CCNAME``, which is one for the whole process and not safe to change under threads;
here each login has a cache of its own in memory, and nothing is written to a disk.
"""
