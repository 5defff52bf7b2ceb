"""The owner's page and its API over HTTP. Imported only where `web.enabled` is true.

It knows the agent through `agent_view.AgentView` alone: payloads, a ring of events, pictures as JPEG. So it
can neither hold up a frame nor change the agent, but by what that protocol offers.
"""
