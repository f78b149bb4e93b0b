-- Digests of findings are the gate's: it records what it told by its own role and not by the publisher's.
grant insert on ops.notification to hailong_gate;
