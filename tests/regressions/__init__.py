"""One test for each published fault of a server or parser that ours could share. docs/advisories.md is the table of them."""
