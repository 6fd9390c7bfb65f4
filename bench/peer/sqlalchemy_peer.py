"""The operations through SQLAlchemy and asyncpg, one request and one answer a line, in JSON.

An answer says how long the operation took, without the reading and writing of these lines.
"""

import asyncio
import json
import sys
import time
from datetime import datetime, timedelta

import asyncpg
from sqlalchemy import BigInteger, DateTime, ForeignKey, and_, case, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PAGE = 50


class NotFound(Exception):
    pass


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger, datetime: DateTime(timezone=True), dict: JSONB(none_as_null=True)}


class Session(Base):
    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    is_active: Mapped[bool]
    created_by: Mapped[str]
    meta: Mapped[dict | None] = mapped_column("metadata")


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    sender: Mapped[str]
    sender_type: Mapped[str]
    content: Mapped[str]
    visibility: Mapped[str]
    message_type: Mapped[str]
    meta: Mapped[dict | None] = mapped_column("metadata")
    timestamp: Mapped[datetime] = mapped_column(server_default=func.now())
    parent_message_id: Mapped[int | None]


class AgentMemory(Base):
    __tablename__ = "agent_memory"
    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[str]
    session_id: Mapped[str | None]
    key: Mapped[str]
    value: Mapped[str]
    meta: Mapped[dict | None] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class AuditLog(Base):
    __tablename__ = "audit_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    timestamp: Mapped[datetime] = mapped_column(server_default=func.now())
    event_type: Mapped[str]
    agent_id: Mapped[str]
    session_id: Mapped[str | None]
    meta: Mapped[dict | None] = mapped_column("metadata")


def visible(reader):
    """The messages that a reader may see."""
    if reader["admin"]:
        return True
    return or_(
        Message.visibility == "public",
        and_(Message.visibility.in_(["private", "agent_only"]), Message.sender == reader["id"]),
        and_(Message.visibility == "agent_only", Message.sender_type == reader["type"]),
    )


def message_dict(m):
    return {
        "id": m.id, "session_id": m.session_id, "sender": m.sender, "sender_type": m.sender_type, "content": m.content,
        "visibility": m.visibility, "message_type": m.message_type, "metadata": m.meta, "timestamp": m.timestamp,
        "parent_message_id": m.parent_message_id,
    }


async def check_session(db, session_id):
    if await db.scalar(select(Session.id).where(Session.id == session_id)) is None:
        raise NotFound


async def add_messages(sessions, session_id, messages):
    async with sessions.begin() as db:
        await check_session(db, session_id)
        rows = [
            Message(
                session_id=session_id, sender=m["sender"], sender_type=m["sender_type"], content=m["content"],
                visibility=m["visibility"], message_type=m["message_type"], meta=m.get("metadata"),
            )
            for m in messages
        ]
        db.add_all(rows)
        await db.flush()
        db.add_all(
            AuditLog(
                event_type="message_added", agent_id=m.sender, session_id=session_id,
                meta={"message_id": m.id, "visibility": m.visibility},
            )
            for m in rows
        )
    return [{"id": m.id, "timestamp": m.timestamp} for m in rows]


async def get_messages(sessions, session_id, reader, offset):
    wanted = (Message.session_id == session_id, visible(reader))
    async with sessions() as db:
        total = await db.scalar(select(func.count()).select_from(Message).where(*wanted))
        if total == 0:
            await check_session(db, session_id)
            return {"total": 0, "messages": []}
        rows = await db.scalars(select(Message).where(*wanted).order_by(Message.timestamp, Message.id).limit(PAGE).offset(offset))
        return {"total": total, "messages": [message_dict(m) for m in rows]}


async def get_messages_after(sessions, session_id, reader, timestamp, message_id):
    behind = tuple_(Message.timestamp, Message.id) > tuple_(datetime.fromisoformat(timestamp), message_id)
    async with sessions() as db:
        rows = await db.scalars(
            select(Message).where(Message.session_id == session_id, visible(reader), behind)
            .order_by(Message.timestamp, Message.id).limit(PAGE + 1)
        )
        messages = [message_dict(m) for m in rows]
        if not messages:
            await check_session(db, session_id)
        return messages


async def get_session(sessions, session_id, reader):
    async with sessions() as db:
        s = await db.get(Session, session_id)
        if s is None:
            raise NotFound
        rows = await db.scalars(
            select(Message).where(Message.session_id == session_id, visible(reader))
            .order_by(Message.timestamp.desc(), Message.id.desc()).limit(PAGE)
        )
        return {
            "id": s.id, "purpose": s.purpose, "created_at": s.created_at, "updated_at": s.updated_at, "is_active": s.is_active,
            "created_by": s.created_by, "metadata": s.meta, "messages": [message_dict(m) for m in rows],
        }


async def set_memory(sessions, agent_id, key, value, metadata, ttl_microseconds):
    statement = insert(AgentMemory).values(
        agent_id=agent_id, key=key, value=value, meta=metadata,
        expires_at=func.now() + timedelta(microseconds=ttl_microseconds) if ttl_microseconds else None,
    )
    new, old = statement.excluded, AgentMemory
    statement = statement.on_conflict_do_update(
        index_elements=[old.agent_id, old.key], index_where=old.session_id.is_(None),
        set_={
            "value": new.value, "metadata": new.metadata, "expires_at": new.expires_at,
            "created_at": case((old.expires_at <= new.created_at, new.created_at), else_=func.least(old.created_at, new.created_at)),
        },
    ).returning(old.created_at, old.updated_at, old.expires_at)
    async with sessions.begin() as db:
        row = (await db.execute(statement)).one()
        db.add(AuditLog(event_type="memory_set", agent_id=agent_id, meta={"key": key, "scope": "global"}))
    return row._asdict()


def live_memory(agent_id):
    return (
        AgentMemory.agent_id == agent_id, AgentMemory.session_id.is_(None),
        or_(AgentMemory.expires_at.is_(None), AgentMemory.expires_at > func.now()),
    )


async def get_memory(sessions, agent_id, key):
    async with sessions() as db:
        m = await db.scalar(select(AgentMemory).where(*live_memory(agent_id), AgentMemory.key == key))
        if m is None:
            raise NotFound
        return {
            "agent_id": agent_id, "key": key, "value": m.value, "metadata": m.meta, "created_at": m.created_at,
            "updated_at": m.updated_at, "expires_at": m.expires_at,
        }


async def list_memory(sessions, agent_id):
    m = AgentMemory
    async with sessions() as db:
        rows = await db.execute(
            select(m.agent_id, m.key, func.length(m.value).label("size"), m.created_at, m.updated_at, m.expires_at)
            .where(*live_memory(agent_id)).order_by(m.key).limit(PAGE + 1)
        )
        return [row._asdict() for row in rows]


OPERATIONS = {f.__name__: f for f in (add_messages, get_messages, get_messages_after, get_session, set_memory, get_memory, list_memory)}


async def main(url, connections):
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), pool_size=connections, max_overflow=0
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    for line in sys.stdin:
        request = json.loads(line)
        operation, answer = OPERATIONS[request["operation"]], {}
        start = time.perf_counter()
        try:
            answer["result"] = await operation(sessions, *request["arguments"])
        except NotFound:
            answer["not_found"] = True
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        answer["seconds"] = time.perf_counter() - start
        print(json.dumps(answer, default=datetime.isoformat), flush=True)
    await engine.dispose()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
