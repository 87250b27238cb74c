//! Where the output of the apps goes: names of files, the pump, the reader.
