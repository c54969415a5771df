"""The tool every process talks with: mailbox, frame checks, depot client."""
