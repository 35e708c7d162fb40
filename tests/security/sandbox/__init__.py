"""Provider code in its sandboxes, in real processes and components: what it must be able to do, and what not.

attacks, hostile_bundle, hostile_design    the deeds, and the code that does them
test_attack_*, test_ryoan_rules,           they are tried, and nobody outside learns or loses anything
test_sandbox_*, test_no_text_leaves
test_native, test_design, test_resnet20    well-meant code trains and answers
test_checks, test_exported_graphs          what `cloister provider check` tells, which graphs native code gets
"""
